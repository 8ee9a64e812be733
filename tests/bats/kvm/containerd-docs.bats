#!/usr/bin/env bats
# docs/containerd.md: its lines, copied from top to bottom. They install and configure; so they run in a mount namespace where all
# they write is in memory, with a containerd of their own.

load ../helper

# The sh boxes of the document, behind what stands for systemd and for the registry.
lines_to_copy() {
    cat <<'END'
set -e
for dir in /usr/local /etc; do
    mkdir -p "$WORK/over$dir/upper" "$WORK/over$dir/work"
    mount -t overlay -o "lowerdir=$dir,upperdir=$WORK/over$dir/upper,workdir=$WORK/over$dir/work" overlay "$dir"
done
mkdir -p /var/lib/containerd /run/containerd
for dir in /var/lib/containerd /run/containerd /srv; do mount -t tmpfs tmpfs "$dir"; done

start() {
    containerd >>"$WORK/containerd.log" 2>&1 &
    daemon=$!
    until command ctr version >/dev/null 2>&1; do sleep 0.1; done
}
stop() {
    kill "$daemon"
    wait "$daemon" || true
}
systemctl() {
    [ "$*" = "restart containerd" ]
    stop
    start
}
ctr() {
    case "$1 $2" in
    "image pull")
        command ctr image import "$WORK/busybox.tar"
        command ctr image tag docker.io/library/busybox:test "$3"
        ;;
    *) command ctr "$@" ;;
    esac
}
make() {
    command make BUILD="$BULKHEAD_BUILD" "$@"
}
start
trap stop EXIT
set -x
END
    awk '/^```sh$/ {copy = 1; next} /^```$/ {copy = 0} copy' "$CHECKOUT/docs/containerd.md"
}

@test "every line of docs/containerd.md works" {
    busybox_image "$WORK/busybox.tar"
    lines_to_copy >"$WORK/lines"
    grep -q '^ctr run' "$WORK/lines"
    cd "$CHECKOUT"
    export WORK BULKHEAD_BUILD
    unshare --mount bash "$WORK/lines" >"$WORK/out" 2>&1 3>&- || {
        cat "$WORK/out"
        tail "$WORK/containerd.log"
        false
    }
    # check sees the configuration once it is there, and not before
    [ "$(grep -c 'config.toml names bulkhead' "$WORK/out")" -eq 1 ]
    grep -q 'SKIP.*ctr run --runc-binary PATH works without' "$WORK/out"
    # another kernel than this one
    grep -q '^Linux ' "$WORK/out"
    [ "$(grep '^Linux ' "$WORK/out" | grep -cF "$(uname -r)")" -eq 0 ]
    grep -q 'sleep 1' "$WORK/out"
    [ -z "$(find /sys/fs/cgroup/default -mindepth 1 -type d 2>/dev/null)" ]
}
