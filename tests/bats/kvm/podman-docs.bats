#!/usr/bin/env bats
# docs/podman.md does what it says: its lines, as they stand there, in order.

bats_require_minimum_version 1.5.0
load ../helper

setup() {
    make_work
    ROOT=/run/bulkhead
}

# What there is below ROOT need not be this test's.
clean_up() {
    rm -rf "$WORK"
}

# The `sh` blocks of a document.
lines_of() {
    awk '/^```/ {on = $0 == "```sh"; next} on' "$1"
}

# In mounts of its own: /usr/local, podman's settings and its store are this test's alone, and go with it. The image is there
# beforehand, for there is no registry here.
@test "the lines of docs/podman.md" {
    local doc=$CHECKOUT/docs/podman.md
    busybox_tree "$WORK/tree"
    tar -C "$WORK/tree" -cf "$WORK/busybox.tar" .
    {
        echo 'set -eux'
        echo 'for d in /usr/local /var/lib/containers /run/containers /run/libpod; do mkdir -p $d; mount -t tmpfs tmpfs $d; done'
        echo "cp -a /etc/containers $WORK/etc; mount --bind $WORK/etc /etc/containers; mount -t tmpfs tmpfs /srv; touch /srv/of-the-host"
        echo "podman import $WORK/busybox.tar docker.io/library/busybox; cd $CHECKOUT"
        lines_of "$doc"
        # the last line again, so that its answer can be told from the rest
        echo 'echo "last: $(podman --runtime bulkhead run --rm --network=none --security-opt apparmor=unconfined localhost/doc)"'
        echo 'podman ps -aq; rm -r /tmp/bulkhead-doc'
    } >"$WORK/script"
    run --separate-stderr env BUILD="$BULKHEAD_BUILD" PATH="/usr/local/bin:$PATH" unshare --mount --propagation private bash "$WORK/script"
    echo "$output"
    echo "$stderr"
    [ "$status" -eq 0 ]
    grep -qx of-the-host <<<"$output"
    [[ $output == *"last: 6."* && $output != *"last: $(uname -r)"* ]]
}
