#!/usr/bin/env bats
# containerd's ctr, with its stock runc shim and Bulkhead as the binary it calls.

load ../helper

setup_file() {
    DIR=$(mktemp -d /tmp/bulkhead-ctr-XXXXXX)
    export DIR
    cat >"$DIR/config.toml" <<END
version = 2
root = "$DIR/root"
state = "$DIR/run"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "$DIR/containerd.sock"
END
    containerd -c "$DIR/config.toml" >"$DIR/log" 2>&1 3>&- &
    echo $! >"$DIR/pid"
    until ctr -a "$DIR/containerd.sock" version >/dev/null 2>&1; do sleep 0.1; done
    busybox_image "$DIR/busybox.tar"
    ctr -a "$DIR/containerd.sock" image import "$DIR/busybox.tar" >/dev/null
}

teardown_file() {
    kill "$(cat "$DIR/pid")"
    while kill -0 "$(cat "$DIR/pid")" 2>/dev/null; do sleep 0.1; done
    rm -rf "$DIR"
}

setup() {
    make_work
    ROOT=/run/containerd/runc/default
}

teardown() {
    ct task kill -s KILL c1 2>/dev/null || true
    ct task delete -f c1 2>/dev/null || true
    ct container delete c1 2>/dev/null || true
    rm -rf "$WORK"
}

ct() {
    timeout -k 5 300 ctr -a "$DIR/containerd.sock" "$@"
}

ctr_run() {
    ct run --runc-binary "$BULKHEAD" "$@"
}

nothing_left() {
    [ -z "$(ct task ls -q)" ]
    leftovers
}

@test "ctr run --rm: output and exit status" {
    run ctr_run --rm docker.io/library/busybox:test c1 sh -c 'uname -r; exit 7'
    [ "$status" -eq 7 ]
    [ -n "${lines[0]}" ]
    [ "${lines[0]}" != "$(uname -r)" ]
    nothing_left
}

@test "ctr run -d, task ls, kill, delete" {
    ctr_run -d docker.io/library/busybox:test c1 sleep 1000
    run ct task ls
    [[ $output == *c1*RUNNING* ]]
    ct task kill -s KILL c1
    until ct task ls | grep -q STOPPED; do sleep 0.1; done
    run ct task delete c1
    [[ $output == *"exit code 137"* ]]
    ct container delete c1
    nothing_left
}

@test "a command that is not there" {
    run ctr_run --rm docker.io/library/busybox:test c1 no-such-command
    [ "$status" -ne 0 ]
    [[ $output == *"executable file not found"* ]]
    nothing_left
}
