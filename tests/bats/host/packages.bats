#!/usr/bin/env bats
# configs/install-packages, with a dpkg and an apt that are played.

bats_require_minimum_version 1.5.0
load ../helper

setup() {
    make_work
    mkdir "$WORK/bin"
    printf '#!/bin/sh\nexit 1\n' >"$WORK/bin/dpkg-query"
    printf '#!/bin/sh\necho 0\n' >"$WORK/bin/id"
    # an install needs an update first; what is in $WORK/fail fails ever after
    cat >"$WORK/bin/apt-get" <<END2
#!/bin/sh
case \$* in
    *update*) touch '$WORK/updated'; echo "Get:1 http://deb.debian.org/debian bookworm InRelease [151 kB]";;
    *)
        [ -e '$WORK/updated' ] || { echo "E: Unable to fetch some archives"; exit 100; }
        echo "Get:1 http://deb.debian.org/debian bookworm/main amd64 jq amd64 1.6-2.1 [64.9 kB]"
        echo "Unpacking jq (1.6-2.1) ..."
        [ ! -e '$WORK/fail' ] || { echo "E: no room"; exit 100; }
        echo "Setting up libjq1:amd64 (1.6-2.1) ..."
        ;;
esac
END2
    chmod +x "$WORK"/bin/*
}

teardown() {
    clean_up
}

@test "install-packages says what it does while it does it" {
    PATH=$WORK/bin:$PATH run --separate-stderr "$CHECKOUT/configs/install-packages" bundle
    echo "$stderr"
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    [ "$stderr" = "Installing Debian packages: busybox-static jq
  again, with new package lists
  fetching jq
  unpacking jq
  setting up libjq1" ]
}

@test "install-packages fails with what apt said" {
    touch "$WORK/fail"
    PATH=$WORK/bin:$PATH run "$CHECKOUT/configs/install-packages" bundle
    [ "$status" -eq 1 ]
    [[ $output == *"E: no room" ]]
}

@test "install-packages: nothing to do, nothing said; an unknown group" {
    printf '#!/bin/sh\necho "install ok installed"\n' >"$WORK/bin/dpkg-query"
    PATH=$WORK/bin:$PATH run "$CHECKOUT/configs/install-packages" bundle
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    run "$CHECKOUT/configs/install-packages" nonsense
    fails_with 2 "no such group: nonsense"
}
