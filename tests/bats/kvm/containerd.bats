#!/usr/bin/env bats
# containerd's ctr, with its stock runc shim and Bulkhead as the binary it calls. One container serves many verbs.

load ../helper

IMAGE=docker.io/library/busybox:test

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
    start_containerd
    busybox_image "$DIR/busybox.tar"
    ct image import "$DIR/busybox.tar" >/dev/null
}

teardown_file() {
    stop_containerd
    rm -rf "$DIR"
}

setup() {
    make_work
    ROOT=/run/containerd/runc/default
    EVENTS=
}

clean_up() {
    [ -z "$EVENTS" ] || kill "$EVENTS"
    ct task delete -f c1 2>/dev/null || true
    ct container delete c1 2>/dev/null || true
    rm -rf "$WORK"
}

start_containerd() {
    containerd -c "$DIR/config.toml" >>"$DIR/log" 2>&1 3>&- &
    echo $! >"$DIR/pid"
    until ct version >/dev/null 2>&1; do sleep 0.1; done
}

stop_containerd() {
    kill "$(cat "$DIR/pid")"
    while kill -0 "$(cat "$DIR/pid")" 2>/dev/null; do sleep 0.1; done
}

ct() {
    ctr -a "$DIR/containerd.sock" "$@"
}

ctr_run() {
    ct run --runc-binary "$BULKHEAD" "$@"
}

# inside COMMAND: what it prints in c1
inside() {
    ct task exec --exec-id inside c1 sh -c "$1"
}

# wait_task STATUS: until containerd says that c1 has it
wait_task() {
    until [ "$(ct task ls | awk '$1 == "c1" {print $3}')" = "$1" ]; do sleep 0.1; done
}

# Nothing of Bulkhead's, of the task, of the shim, of the snapshot.
nothing_left() {
    local found
    # a shim ends a moment after containerd has answered
    while pgrep -f "containerd-shim-runc-v2.*$DIR" >/dev/null; do sleep 0.1; done
    found=$(
        ct task ls -q
        ct container ls -q
        ct snapshot ls | grep Active
        find "$DIR"/run/io.containerd.runtime.v2.task/*/ -mindepth 1 -maxdepth 1
        find /sys/fs/cgroup/default -mindepth 1 -type d
        grep "$DIR" /proc/self/mounts
    ) 2>/dev/null || true
    [ -z "$found" ] || { printf 'left behind:\n%s\n' "$found"; return 1; }
    leftovers
}

@test "ctr run --rm: both outputs, the environment, the exit status" {
    ctr_run --rm --env A=b --cwd /tmp $IMAGE c1 sh -c 'uname -r; echo $A $(pwd); echo err >&2; exit 7' \
        >"$WORK/out" 2>"$WORK/err" || status=$?
    [ "$status" -eq 7 ]
    [ "$(sed -n 1p "$WORK/out")" != "$(uname -r)" ]
    [ "$(sed -n 2p "$WORK/out")" = "b /tmp" ]
    [ "$(cat "$WORK/err")" = err ]
}

@test "one container from run -d to delete: options, exec, signals, pause, metrics" {
    mkdir "$WORK/rw" "$WORK/ro"
    echo host >"$WORK/ro/file"
    ctr_run -d --pid-file "$WORK/pid" --label l=m --memory-limit 104857600 --cpus 0.5 --env A=b --cwd /tmp --read-only \
        --seccomp --cap-add CAP_SYS_PTRACE --cap-drop CAP_CHOWN \
        --mount "type=bind,src=$WORK/rw,dst=/rw,options=rbind:rw" --mount "type=bind,src=$WORK/ro,dst=/ro,options=rbind:ro" \
        --mount type=tmpfs,dst=/small,options=size=1m:noexec \
        --mount type=cgroup,src=cgroup,dst=/sys/fs/cgroup,options=ro \
        $IMAGE c1 sh -c 'trap "echo $A usr1 >>/rw/init" USR1; echo $A $(pwd) >/rw/init; while :; do sleep 0.1; done'
    wait_text "$WORK/rw/init" "b /tmp"
    pid=$(cat "$WORK/pid")
    [ "$(ct task ls | grep c1 | tr -s ' ')" = "c1 $pid RUNNING" ]
    [ "$(ct task ps c1 | tail -n 1 | awk '{print $1}')" -eq "$pid" ]
    [ "$(readlink "/proc/$pid/exe")" = "$(realpath "$BULKHEAD_BUILD")/bulkhead-shim" ]
    ct container info c1 | jq -e '.Labels.l == "m"'

    # what the options asked for, seen from inside
    inside 'cat /ro/file; grep -E "^(CapEff|Seccomp):" /proc/self/status | tr -d "\t"; mount | grep -o "/small type .*"
        cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max' >"$WORK/out"
    printf '%s\n' host CapEff:00000000a80c25fa Seccomp:2 '/small type tmpfs (rw,noexec,relatime,size=1024k)' \
        104857600 '50000 100000' | diff - "$WORK/out"
    run inside 'echo x >/file'
    fails_with 1 "can't create /file: Read-only file system"
    run inside 'echo x >/ro/file'
    fails_with 1 "can't create /ro/file: Read-only file system"

    # exec: identity, directory, exit statuses, what cannot be executed
    run ct task exec --exec-id e1 --user 5:6 --cwd /etc c1 sh -c 'id; pwd; exit 9'
    [ "$status" -eq 9 ]
    [ "$output" = $'uid=5 gid=6 groups=6\n/etc' ]
    run ct task exec --exec-id e1 c1 sh -c 'kill -TERM $$; sleep 1000'
    [ "$status" -eq 143 ]
    run ct task exec --exec-id e1 c1 sh -c 'kill -KILL $$; sleep 1000'
    [ "$status" -eq 137 ]
    run ct task exec --exec-id e1 c1 no-such-command
    fails_with 1 'exec: "no-such-command": executable file not found in $PATH'
    run ct task exec --exec-id e1 c1 /etc
    fails_with 1 'exec: "/etc": permission denied'

    # exec'd in the background: containerd kills by its pid, without asking us
    ct task exec -d --exec-id e2 c1 sleep 1001
    ct task ps c1 | grep -q ExecID:e2
    ct task kill --exec-id e2 -s TERM c1
    run ct task delete --exec-id e2 c1
    [ "$status" -eq 143 ]
    ct task exec -d --exec-id e2 c1 sleep 1001
    ct task kill --exec-id e2 -s KILL c1
    while inside 'ps' | grep -q '[s]leep 1001'; do sleep 0.1; done
    run ct task delete --exec-id e2 c1
    [ "$status" -eq 137 ]
    [ "$(ct task ps c1 | wc -l)" -eq 2 ]

    # metrics, of the cgroup that containerd found when it created the task
    inside 'i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done'
    ct task metrics --format json c1 >"$WORK/metrics"
    jq -e '.pids.current >= 3 and .pids.current < 50' "$WORK/metrics"
    jq -e '.memory.usage > 5e6 and .memory.usage < 3e8 and .memory.usage_limit > 104857600 and .memory.usage_limit < 1e9' "$WORK/metrics"
    before=$(jq .cpu.usage_usec "$WORK/metrics")
    inside 'i=0; while [ $i -lt 30000 ]; do i=$((i + 1)); done'
    ct task metrics --format json c1 | jq -e ".cpu.usage_usec > $before + 10000"

    # pause and resume
    ct task pause c1
    wait_task PAUSED
    run inside true
    fails_with 1 "cannot exec in a paused state"
    ct task resume c1
    wait_task RUNNING
    [ "$(inside 'echo alive')" = alive ]

    # signals: to init, which hears them only with a handler; to all
    ct task kill -s USR1 c1
    wait_text "$WORK/rw/init" "b usr1"
    run ct task delete c1
    fails_with 1 "task must be stopped before deletion: running"
    run ct container delete c1
    fails_with 1 "cannot delete a non stopped container"
    ct task exec -d --exec-id e3 c1 sleep 1002
    ct task kill --all -s KILL c1
    wait_task STOPPED
    run ct task kill -s KILL c1
    fails_with 1 "process already finished"
    run ct task delete c1
    [[ $output == *"exit code 137"* ]]
    ct container delete c1
}

@test "what cannot be started fails create with a reason, and leaves nothing" {
    run ctr_run --rm $IMAGE c1 no-such-command
    fails_with 1 'exec: "no-such-command": executable file not found in $PATH'
    nothing_left
    run ctr_run --rm $IMAGE c1 /etc
    fails_with 1 'exec: "/etc": permission denied'
    run ctr_run --rm --net-host $IMAGE c1 true
    fails_with 1 "linux.namespaces has no \"network\" entry"
}

@test "a terminal: run -t and exec -t, resized, and the exit status" {
    cat >"$WORK/exec" <<END
#!/bin/sh
printf '%s\n' 'expect / # ' 'send stty size; tty\r' 'expect 31 91' 'expect /dev/pts/[0-9]' \
    'resize 32x92' 'send until [ "\$(stty size)" = "32 92" ]; do sleep 0.1; done; exit 6\r' |
    $CHECKOUT/tests/bats/on-terminal --size 31x91 ctr -a $DIR/containerd.sock task exec -t --exec-id e1 c1 sh >$WORK/exec.out
[ \$? -eq 6 ]
END
    printf '%s\n' 'expect / # ' 'send stty size; tty\r' 'expect 24 80' 'expect /dev/(pts/[0-9]|console)' \
        'resize 30x90' 'send until [ "$(stty size)" = "30 90" ]; do sleep 0.1; done; echo re""sized\r' 'expect resized' \
        "run sh $WORK/exec" 'send echo sl""eeps; sleep 1000\r' 'expect sleeps' 'send \x03' \
        'send echo $?; exit 7\r' 'expect 130' >"$WORK/script"
    run "$CHECKOUT/tests/bats/on-terminal" ctr -a "$DIR/containerd.sock" run --runc-binary "$BULKHEAD" --rm -t $IMAGE c1 sh \
        <"$WORK/script"
    cat "$WORK/exec.out"
    fails_with 7 resized
}

@test "100 MiB through stdin and stdout" {
    head -c 100M /dev/urandom >"$WORK/data"
    ctr_run --rm $IMAGE c1 cat <"$WORK/data" >"$WORK/out"
    cmp "$WORK/out" "$WORK/data"
}

@test "attach: the streams of a container that runs already, and its exit status" {
    ctr_run -d $IMAGE c1 sh -c 'while read x; do echo got $x; [ $x != end ] || exit 4; done'
    run ct task attach c1 <<<$'hello\nend'
    [ "$status" -eq 4 ]
    [ "$output" = $'got hello\ngot end' ]
    ct container delete c1
}

@test "ctr run passes its signals on" {
    # exec: $! is to be ctr's
    (exec ctr -a "$DIR/containerd.sock" run --runc-binary "$BULKHEAD" --rm $IMAGE c1 \
        sh -c 'trap "exit 143" TERM; echo up; while :; do sleep 0.1; done' >"$WORK/out") 3>&- &
    wait_text "$WORK/out" up
    kill -TERM $!
    wait $! || status=$?
    [ "$status" -eq 143 ]
}

@test "--memory-limit: what takes more is killed, and containerd hears of it" {
    (exec ctr -a "$DIR/containerd.sock" events >"$WORK/events") 3>&- &
    EVENTS=$!
    run ctr_run --rm --memory-limit 67108864 $IMAGE c1 sh -c 'tail /dev/zero; exit $?'
    [ "$status" -eq 137 ]
    wait_text "$WORK/events" '/tasks/oom {"container_id":"c1"}'
}

@test "a killed containerd-shim: containerd's clean-up leaves nothing" {
    ctr_run -d $IMAGE c1 sleep 1000
    ct task exec -d --exec-id e1 c1 sleep 1001
    pkill -KILL -f "containerd-shim-runc-v2.* -id c1 .*$DIR"
    while [ -n "$(ct task ls -q)" ] || [ -e "$ROOT/c1" ]; do sleep 0.1; done
    ct container delete c1
}

@test "containerd restarts under a running container; task rm -f" {
    ctr_run -d $IMAGE c1 sleep 1000
    stop_containerd
    start_containerd
    wait_task RUNNING
    [ "$(inside 'echo alive')" = alive ]
    run ct task rm -f c1
    [[ $output == *"exit code 137"* ]]
    ct container delete c1
}
