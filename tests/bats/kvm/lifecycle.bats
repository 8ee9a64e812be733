#!/usr/bin/env bats
# The life-cycle of containers in real VMs: create, start, state, kill, delete, run, list.

load ../helper

setup() {
    make_work
    make_bundle
}

@test "run: output, exit status, nothing left" {
    args sh -c 'echo to stdout; echo to stderr >&2; exit 42'
    status=0
    bh run --bundle "$BUNDLE" c1 >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    [ "$status" -eq 42 ]
    [ "$(cat "$WORK/out")" = "to stdout" ]
    [ "$(cat "$WORK/err")" = "to stderr" ]
}

@test "the container runs on a kernel of its own" {
    args uname -r
    run bh run --bundle "$BUNDLE" c1
    [ "$status" -eq 0 ]
    [ -n "$output" ]
    [ "$output" != "$(uname -r)" ]
}

@test "create, state, start, state, kill, state, delete" {
    args sh -c 'echo up; exec sleep 1000'
    create_container c1
    pid=$(cat "$WORK/c1.pid")
    [ "$(wc -c <"$WORK/c1.pid")" -eq ${#pid} ] # no newline
    [ "$(bh state c1 | jq -r .pid)" = "$pid" ]
    [ "$(status_of c1)" = created ]
    [ ! -s "$WORK/c1.out" ]
    [ "$(bh state c1 | jq -r .bundle)" = "$BUNDLE" ]
    [ "$(bh state c1 | jq -r .rootfs)" = "$BUNDLE/rootfs" ]

    run bh start c1
    [ "$status" -eq 0 ]
    [ -z "$output" ]
    wait_text "$WORK/c1.out" up
    [ "$(status_of c1)" = running ]
    run bh start c1
    fails_with 1 "cannot start an already running container: c1"
    run bh delete c1
    fails_with 1 "cannot delete container c1 that is not stopped: running"

    bh kill c1 KILL
    wait_status c1 stopped
    run bh kill c1 KILL
    fails_with 1 "container not running"
    bh kill --all c1 KILL
    bh delete c1
    run bh state c1
    fails_with 1 "does not exist"
}

@test "signals: names and numbers reach the process; its status is carried out" {
    args sh -c 'trap "echo got usr1" USR1; trap "echo got term; exit 7" TERM; echo up; while :; do sleep 0.1; done'
    create_container c1
    bh start c1
    wait_text "$WORK/c1.out" up
    bh kill c1 SIGUSR1
    wait_text "$WORK/c1.out" "got usr1"
    bh kill c1 28
    bh kill c1 15
    wait_status c1 stopped
    grep -q "got term" "$WORK/c1.out"
    bh delete c1
}

@test "run: a process ended by a signal has 128 + its number" {
    args sleep 1000
    bh run --bundle "$BUNDLE" c1 </dev/null >"$WORK/out" 2>&1 &
    wait_status c1 running
    bh kill c1 KILL
    status=0
    wait $! || status=$?
    [ "$status" -eq 137 ]
}

@test "stdin goes in, and its end too" {
    args cat
    run bash -c "printf 'one\ntwo' | '$BULKHEAD' --root '$ROOT' run --bundle '$BUNDLE' c1"
    [ "$status" -eq 0 ]
    [ "$output" = $'one\ntwo' ]
}

@test "100 MiB in and out again, unchanged" {
    args cat
    head -c 104857600 /dev/urandom >"$WORK/data"
    bh run --bundle "$BUNDLE" c1 <"$WORK/data" >"$WORK/back"
    cmp "$WORK/data" "$WORK/back"
}

@test "files are shared live, both ways" {
    args sh -c 'echo from the guest >/tmp/g; echo up; until [ -e /tmp/h ]; do sleep 0.1; done; cat /tmp/h'
    create_container c1
    bh start c1
    wait_text "$WORK/c1.out" up
    [ "$(cat "$BUNDLE/rootfs/tmp/g")" = "from the guest" ]
    echo "from the host" >"$BUNDLE/rootfs/tmp/h.new"
    mv "$BUNDLE/rootfs/tmp/h.new" "$BUNDLE/rootfs/tmp/h"
    wait_text "$WORK/c1.out" "from the host"
    wait_status c1 stopped
    bh delete c1
}

@test "delete --force of a running container, and of an unknown one" {
    args sleep 1000
    create_container c1
    bh start c1
    bh delete --force c1
    run bh state c1
    fails_with 1 "does not exist"
    bh delete --force no-such-container
    run bh delete no-such-container
    fails_with 1 "does not exist"
}

@test "list shows what there is" {
    args sleep 1000
    create_container c1
    run bh list
    [[ ${lines[0]} == ID*PID*STATUS*BUNDLE*CREATED*OWNER ]]
    [[ ${lines[1]} == c1*created*"$BUNDLE"*root ]]
    [ "$(bh list --format json | jq -r '.[0].id')" = c1 ]
    [ "$(bh list -q)" = c1 ]
    bh delete --force c1
    [ -z "$(bh list -q)" ]
}

@test "the container's host process: cgroup, namespaces, root" {
    args sleep 1000
    edit '.linux.cgroupsPath = "/bulkhead-test-c1"'
    create_container c1
    pid=$(cat "$WORK/c1.pid")
    [ "$(cat "/proc/$pid/cgroup")" = "0::/bulkhead-test-c1" ]
    for ns in pid mnt ipc uts net; do
        [ "$(readlink "/proc/$pid/ns/$ns")" != "$(readlink "/proc/self/ns/$ns")" ]
    done
    [ -e "/proc/$pid/root/bin/busybox" ]
    [ "$(stat -L -c %d:%i "/proc/$pid/root")" = "$(stat -c %d:%i "$BUNDLE/rootfs")" ]
    # every process of the sandbox is in there, and none keeps a capability it does not need
    [ "$(wc -l <"/sys/fs/cgroup/bulkhead-test-c1/cgroup.procs")" -ge 3 ]
    while read -r p; do
        exe=$(readlink "/proc/$p/exe") || continue # a kernel thread of KVM's
        [ "$(awk '/^NoNewPrivs/ {print $2}' "/proc/$p/status")" = 1 ]
        [ "$(awk '/^Seccomp:/ {print $2}' "/proc/$p/status")" = 2 ]
        case $exe in
        *bulkhead-vmm*)
            [ "$(awk '/^CapEff/ {print $2}' "/proc/$p/status")" = 0000000000000000 ]
            [ "$(awk '/^CapBnd/ {print $2}' "/proc/$p/status")" = 0000000000000000 ]
            [ "$(awk '/^Uid/ {print $2}' "/proc/$p/status")" -ne 0 ]
            ;;
        esac
    done <"/sys/fs/cgroup/bulkhead-test-c1/cgroup.procs"
    bh delete --force c1
    [ ! -e /sys/fs/cgroup/bulkhead-test-c1 ]
}

@test "SIGKILL of the host process kills the container's process and ends the VM" {
    args sleep 1000
    create_container c1
    bh start c1
    vmm=$(pid_of vmm c1)
    kill -KILL "$(cat "$WORK/c1.pid")"
    wait_status c1 stopped
    # the guest restarts by itself once its last container is gone: wait for the VMM to go
    while grep -qs '^State:[[:space:]]*[^Z[:space:]]' "/proc/$vmm/status"; do sleep 0.05; done
    bh delete c1
}

@test "20 creates at once all succeed" {
    args sleep 1000
    edit 'del(.linux.cgroupsPath)'
    pids=()
    for i in $(seq 20); do
        create_container "c$i" &
        pids+=($!)
    done
    for p in "${pids[@]}"; do wait "$p"; done
    [ "$(bh list -q | wc -l)" -eq 20 ]
    [ "$(bh list --format json | jq -r '[.[].status] | unique | join(",")')" = created ]
    for i in $(seq 20); do bh delete --force "c$i"; done
}

@test "a guest that panics ends the container with its last words" {
    args sh -c 'echo 1 >/proc/sys/vm/panic_on_oom; tail /dev/zero'
    edit '.linux.maskedPaths = [] | .linux.readonlyPaths = [] | .annotations["dev.bulkhead.memory"] = "96"'
    status=0
    bh run --bundle "$BUNDLE" c1 >"$WORK/out" 2>"$WORK/err" </dev/null || status=$?
    [ "$status" -ne 0 ]
    grep -q "virtual machine ended" "$WORK/err"
    grep -q "panic_on_oom" "$WORK/err"
}

@test "a VMM that is killed ends the container with a message" {
    args sleep 1000
    create_container c1
    bh start c1
    kill -KILL "$(pid_of vmm c1)"
    wait_status c1 stopped
    grep -q "virtual machine ended" "$WORK/c1.err"
    bh delete c1
}

@test "vcpus and memory: config.json's vm section and annotations" {
    args sh -c 'grep -c ^processor /proc/cpuinfo; awk "/MemTotal/ {print int(\$2 / 1024)}" /proc/meminfo'
    edit '.vm.hwConfig = {vcpus: 2, memory: 402653184} | .vm.kernel.path = "'"$(realpath "$BULKHEAD_BUILD/vmlinux")"'"'
    run bh run --bundle "$BUNDLE" c1
    [ "$status" -eq 0 ]
    [ "${lines[0]}" -eq 2 ]
    [ "${lines[1]}" -gt 340 ]
    [ "${lines[1]}" -lt 384 ]
    edit '.annotations["dev.bulkhead.vcpus"] = "4" | .annotations["dev.bulkhead.memory"] = "512"'
    run bh run --bundle "$BUNDLE" c1
    [ "${lines[0]}" -eq 4 ]
    [ "${lines[1]}" -gt 440 ]
    [ "${lines[1]}" -lt 512 ]
}

@test "run: when it fails while it waits, the container goes as well" {
    args sleep 1000
    # the only /dev/null there is goes between start and waiting, in a mount namespace of its own
    edit '.hooks.poststart = [{path: "/bin/rm", args: ["rm", "/dev/null"]}]'
    run unshare -m bash -c "mount -t tmpfs none /dev && mknod /dev/null c 1 3 && mknod /dev/kvm c 10 232 &&
        '$BULKHEAD' --root '$ROOT' run --bundle '$BUNDLE' c1 <&- >'$WORK/out'"
    fails_with 1 "open /dev/null: No such file or directory"
    leftovers
}
