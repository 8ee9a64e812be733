#!/usr/bin/env bats
# The verbs beside the life-cycle: kill, list, ps, pause, resume, events, update, and the hooks of the host.

load ../helper

setup() {
    make_work
    make_bundle
    args sleep 1000
}

@test "pause and resume" {
    args sh -c 'while :; do echo tick; sleep 0.1; done'
    create_container c1
    bh start c1
    wait_text "$WORK/c1.out" tick
    bh pause c1
    [ "$(status_of c1)" = paused ]
    run bh exec c1 true
    fails_with 255 "cannot exec in a paused container"
    run bh delete c1
    fails_with 1 "not stopped: paused"
    size=$(stat -c %s "$WORK/c1.out")
    sleep 1 # ten of its ticks
    [ "$(stat -c %s "$WORK/c1.out")" -eq "$size" ]
    bh resume c1
    [ "$(status_of c1)" = running ]
    until [ "$(stat -c %s "$WORK/c1.out")" -gt "$size" ]; do sleep 0.1; done
    bh delete --force c1
}

@test "kill: names, numbers, 0, --all" {
    loop='echo up; while :; do sleep 0.1; done'
    args sh -c "trap 'echo usr1' USR1; trap 'echo rt' 35; for i in 1 2; do (trap 'echo usr1' USR1; $loop) & done; $loop"
    create_container c1
    bh kill c1 0
    bh start c1
    until [ "$(grep -c up "$WORK/c1.out")" -eq 3 ]; do sleep 0.1; done
    bh kill c1 0
    bh kill --all c1 usr1
    until [ "$(grep -c usr1 "$WORK/c1.out")" -eq 3 ]; do sleep 0.1; done
    bh kill c1 SIGUSR1
    until [ "$(grep -c usr1 "$WORK/c1.out")" -eq 4 ]; do sleep 0.1; done
    bh kill c1 SIGRTMIN+1
    wait_text "$WORK/c1.out" rt
    bh kill c1 WINCH
    [ "$(status_of c1)" = running ]
    bh kill --all c1 9
    wait_status c1 stopped
    for signal in 0 TERM KILL; do
        run bh kill c1 "$signal"
        fails_with 1 "container not running"
        bh kill --all c1 "$signal"
    done
    bh delete c1
}

@test "run --keep: a stopped container as every verb sees it" {
    args sh -c 'exit 5'
    run bh run --keep --preserve-fds 1 --no-subreaper --no-pivot --no-new-keyring --bundle "$BUNDLE" --pid-file "$WORK/pid" c1
    [ "$status" -eq 5 ]
    [[ $output == *"--preserve-fds 1"* ]]
    [ -s "$WORK/pid" ]
    [ "$(bh state c1 | jq -c '[.status, .pid]')" = '["stopped",0]' ]
    [ "$(bh state c1 | jq -c keys)" = '["bundle","created","id","ociVersion","owner","pid","rootfs","status"]' ]
    bh list | grep -qE "^c1 +0 +stopped +$BUNDLE +20.*Z +root$"
    [ "$(bh list -f json | jq -c '.[0] | [.id, .status, .pid, .owner]')" = '["c1","stopped",0,"root"]' ]
    run bh start c1
    fails_with 1 "cannot start a container that has stopped"
    for verb in pause kill ps "ps -f json" events "events --stats" "update --memory 64M"; do
        # shellcheck disable=SC2086
        run bh $verb c1
        fails_with 1 "container not running"
    done
    run bh resume c1
    fails_with 1 "container not paused"
    run bh run --bundle "$BUNDLE" c1
    fails_with 1 "container with given ID already exists"
    [ "$(status_of c1)" = stopped ]
    bh delete c1
}

@test "run --detach; ps as a table; list of several" {
    bh run --detach --bundle "$BUNDLE" --pid-file "$WORK/pid" c1 </dev/null >"$WORK/out" 2>&1
    [ "$(status_of c1)" = running ]
    [ "$(bh state c1 | jq .pid)" -eq "$(cat "$WORK/pid")" ]
    run bh ps c1
    [ "${lines[0]}" = "UID        PID  PPID  C STIME TTY          TIME CMD" ]
    [[ ${lines[1]} =~ ^root\ +[0-9]+\ +[0-9]+\ +0\ [0-9:]{5}\ \?\ +00:00:0[0-9]\ sleep\ 1000$ ]]
    [ "$(bh ps c1 -ef)" = "$output" ]
    run bh ps c1 -o pid,args
    [ "${lines[0]}" = "  PID COMMAND" ]
    [[ ${lines[1]} =~ ^\ +[0-9]+\ sleep\ 1000$ ]]
    mkdir "$ROOT/half" # a create that was killed at once
    [ "$(bh list -q)" = $'c1\nhalf' ]
    [ "$(bh list -f json | jq -r '.[] | .id + " " + .status')" = $'c1 running\nhalf stopped' ]
    [[ $(bh list) == ID*PID*STATUS*BUNDLE*CREATED*OWNER*c1*running*half*stopped* ]]
    bh delete half
    bh delete --force c1
    [ "$(bh list -f json)" = null ]
}

@test "events: a stream of statistics and OOM kills that ends with the container" {
    edit '.linux.resources.memory.limit = 33554432'
    create_container c1
    bh start c1
    bh events --stats c1 | jq -e '.type == "stats" and .id == "c1" and .data.pids.current == 1
        and .data.memory.usage.limit == 33554432 and .data.memory.usage.usage > 0 and .data.cpu.usage.total > 0'
    bh events --interval 300ms c1 >"$WORK/events" &
    events=$!
    until [ "$(grep -c '"type":"stats"' "$WORK/events")" -ge 2 ]; do sleep 0.1; done
    run bh exec c1 tail /dev/zero
    [ "$status" -eq 137 ]
    wait_text "$WORK/events" '^{"type":"oom","id":"c1"}$'
    bh kill c1 KILL
    wait "$events"
    jq -se 'map(.type) | unique == ["oom", "stats"]' "$WORK/events"
    bh delete c1
}

@test "update: every limit, one by one and from a file" {
    create_container c1
    bh start c1
    limits() {
        bh exec c1 sh -c 'cd /sys/fs/cgroup; for f; do echo "$f=$(cat $f)"; done' - "$@" | tr '\n' ' '
    }
    is() {
        [ "$1" = "$2" ] || { printf 'is:     %s\nwanted: %s\n' "$1" "$2"; return 1; }
    }
    bh update --memory 64M --memory-reservation 32M --memory-swap 96M --pids-limit 10 --cpu-share 512 --cpuset-cpus 0 \
        --cpuset-mems 0 c1
    is "$(limits memory.max memory.low memory.swap.max pids.max cpu.weight)" "memory.max=67108864 \
memory.low=33554432 memory.swap.max=33554432 pids.max=10 cpu.weight=20 " # cpusets are the host's
    bh update --cpu-period 50000 --cpu-quota 25000 c1
    bh update --cpu-burst 5000 c1
    is "$(limits cpu.max cpu.max.burst)" "cpu.max=25000 50000 cpu.max.burst=5000 "
    bh update --cpu-burst 0 c1
    bh update --cpu-period 40000 c1
    is "$(limits cpu.max)" "cpu.max=25000 40000 " # a period keeps the quota, a quota the period
    bh update --cpu-quota 20000 c1
    is "$(limits cpu.max)" "cpu.max=20000 40000 "
    bh update --cpu-period 50000 --cpu-idle 1 --cpu-share 256 c1
    bh update --cpu-idle 0 --cpu-share 1024 c1
    is "$(limits cpu.idle cpu.weight)" "cpu.idle=0 cpu.weight=39 "
    bh update --cpu-quota -1 --pids-limit -1 --cpu-idle 1 c1
    is "$(limits cpu.max pids.max cpu.idle)" "cpu.max=max 50000 pids.max=max cpu.idle=1 "
    is "$(limits memory.max)" "memory.max=67108864 " # what is not given stays
    echo '{"pids": {"limit": 20}, "memory": {"limit": 50331648}}' | bh update --resources - c1
    is "$(limits pids.max memory.max)" "pids.max=20 memory.max=50331648 "
    echo '{"unified": {"memory.high": "40000000"}}' >"$WORK/resources"
    bh update -r "$WORK/resources" --pids-limit 30 c1
    is "$(limits pids.max memory.high)" "pids.max=30 memory.high=39997440 "
    bh events --stats c1 | jq -e '.data.pids.limit == 30 and .data.memory.usage.limit == 50331648'
    run bh update --kernel-memory 1M c1
    fails_with 1 "resources.memory.kernel"
    bh delete --force c1
}

@test "hooks of the host: order, state on stdin, poststop" {
    cat >"$WORK/hook" <<'END'
#!/bin/sh
echo "$1 $(cat)" >>"$2"
END
    chmod +x "$WORK/hook"
    for kind in prestart createRuntime poststart poststop; do
        edit ".hooks.$kind = [{path: \"$WORK/hook\", args: [\"hook\", \"$kind\", \"$WORK/log\"], env: [\"PATH=/bin:/usr/bin\"]}]"
    done
    create_container c1
    [ "$(cut -d' ' -f1 "$WORK/log" | tr '\n' ' ')" = "prestart createRuntime " ]
    [ "$(head -n1 "$WORK/log" | cut -d' ' -f2- | jq -r '"\(.id) \(.pid) \(.bundle)"')" = "c1 $(cat "$WORK/c1.pid") $BUNDLE" ]
    bh start c1
    bh delete --force c1
    [ "$(cut -d' ' -f1 "$WORK/log" | tr '\n' ' ')" = "prestart createRuntime poststart poststop " ]
}

@test "a hook that fails fails create, and nothing is left" {
    edit '.hooks = {
        createContainer: [{path: "/bin/sh", args: ["sh", "-c", "echo no luck >&2; exit 3"]}],
        poststop: [{path: "/bin/sh", args: ["sh", "-c", "echo poststop >>'"$WORK"'/log"]}]}'
    run bh create --bundle "$BUNDLE" --pid-file "$WORK/pid" c1
    fails_with 1 "createContainer hook /bin/sh: ended with status 3: no luck"
    [ ! -e "$WORK/pid" ]
    [ "$(cat "$WORK/log")" = poststop ]
}

@test "poststart and poststop hooks that fail are warnings, and hold up nothing" {
    local kind
    args sleep 1000
    for kind in poststart poststop; do
        edit '.hooks.'$kind' = [
            {path: "/bin/sh", args: ["sh", "-c", "echo no luck >&2; exit 3"]},
            {path: "/nonexistent/hook"},
            {path: "/bin/sh", args: ["sh", "-c", "echo '$kind' >>'"$WORK"'/log"]}]'
    done
    create_container c1
    run bh start c1
    fails_with 0 "poststart hook /bin/sh: ended with status 3: no luck"
    fails_with 0 "poststart hook /nonexistent/hook: cannot be run"
    [ "$(status_of c1)" = running ]
    [ "$(cat "$WORK/log")" = poststart ]
    run bh delete --force c1
    fails_with 0 "poststop hook /bin/sh: ended with status 3: no luck"
    fails_with 0 "poststop hook /nonexistent/hook: cannot be run"
    [ "$(cat "$WORK/log")" = $'poststart\npoststop' ]
    leftovers

    # run does both, and its status is the container's
    args sh -c 'exit 5'
    run bh run --bundle "$BUNDLE" c1
    fails_with 5 "poststart hook /nonexistent/hook: cannot be run"
    fails_with 5 "poststop hook /nonexistent/hook: cannot be run"
    [ "$(wc -l <"$WORK/log")" -eq 4 ]
}

@test "checkpoint and restore refuse" {
    run bh checkpoint --image-path /tmp/x c1
    fails_with 1 "checkpoint is not supported"
    run bh checkpoint --help
    [ "$status" -ne 0 ]
    run bh restore c1
    fails_with 1 "restore is not supported"
}
