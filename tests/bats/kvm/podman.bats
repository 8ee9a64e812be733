#!/usr/bin/env bats
# podman with Bulkhead as its runtime; no network yet.

bats_require_minimum_version 1.5.0
load ../helper

setup_file() {
    DIR=$(mktemp -d /tmp/bulkhead-podman-XXXXXX)
    export DIR
    cat >"$DIR/containers.conf" <<END
[containers]
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["bulkhead"]
END
    export CONTAINERS_CONF=$DIR/containers.conf
    busybox_tree "$DIR/tree"
    tar -C "$DIR/tree" -cf "$DIR/busybox.tar" .
    pm import "$DIR/busybox.tar" localhost/busybox >/dev/null
}

teardown_file() {
    pm rm -af >/dev/null 2>&1 || true
    pm rmi -af >/dev/null 2>&1 || true
    umount "$DIR/root/overlay" 2>/dev/null || true
    rm -rf "$DIR"
}

setup() {
    make_work
    ROOT=/run/bulkhead
}

teardown() {
    pm rm -af -t 0 >/dev/null 2>&1 || true
    rm -rf "$WORK"
}

pm() {
    timeout -k 5 300 podman --root "$DIR/root" --runroot "$DIR/run" --tmpdir "$DIR/tmp" --storage-driver overlay \
        --runtime "$(realpath "$BULKHEAD")" "$@"
}

@test "podman run --rm: output and exit status" {
    run pm run --rm --network=none localhost/busybox sh -c 'uname -r; echo err >&2; exit 7'
    [ "$status" -eq 7 ]
    [ -n "${lines[0]}" ]
    [ "${lines[0]}" != "$(uname -r)" ]
    [[ $output == *err* ]]
    leftovers
}

@test "podman run -d, ps, logs, stop, rm" {
    pm run -d --name c1 --network=none localhost/busybox sh -c 'echo up; trap "exit 3" TERM; while :; do sleep 0.1; done'
    until pm logs c1 | grep -q up; do sleep 0.2; done
    run pm ps --format '{{.Names}} {{.Status}}'
    [[ $output == "c1 Up"* ]]
    pm stop -t 30 c1
    [ "$(pm inspect -f '{{.State.ExitCode}}' c1)" -eq 3 ]
    pm rm c1
    leftovers
}

@test "a command that is not there is 127" {
    run -127 pm run --rm --network=none localhost/busybox no-such-command
    [ "$status" -eq 127 ]
    leftovers
}

@test "a terminal: podman run -t, by console socket" {
    pm run -d -t --name c1 --network=none localhost/busybox sh -c 'tty; echo end; sleep 1000'
    until pm logs c1 | grep -q end; do sleep 0.2; done
    pm logs c1 | grep -q /dev/pts/
    pm rm -f -t 0 c1
    leftovers
}
