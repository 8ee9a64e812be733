#!/usr/bin/env bats
# exec: all its options, in the foreground and detached, and what is left when it is killed.

bats_require_minimum_version 1.5.0
load ../helper

setup() {
    make_work
    make_bundle
    args sleep 1000
}

@test "exec: output, status and every option that describes a process" {
    edit '.process.user.additionalGids = [7]
        | (.mounts[] | select(.type == "cgroup") | .options) -= ["ro"]'
    create_container c1
    bh start c1
    run bh exec --env A=b -e C=d --cwd /tmp --user 5:6 c1 sh -c 'echo $A $C; pwd; id -u; id -g; exit 7'
    [ "$status" -eq 7 ]
    [ "$output" = $'b d\n/tmp\n5\n6' ]
    [ "$(echo in | bh exec c1 cat)" = in ]
    [ "$(bh exec -g 8 -g 9 c1 id -G)" = "0 7 8 9" ]
    without=$(bh exec c1 awk '/^CapEff/ {print $2}' /proc/self/status)
    with=$(bh exec --cap CAP_NET_ADMIN c1 awk '/^CapEff/ {print $2}' /proc/self/status)
    [ $((0x$with & ~0x$without)) -eq $((1 << 12)) ]
    [ "$(bh exec --no-new-privs c1 awk '/^NoNewPrivs/ {print $2}' /proc/self/status)" = 1 ]

    bh exec c1 mkdir -p /sys/fs/cgroup/sub/deeper
    run bh exec --cgroup /sub/deeper c1 cat /proc/self/cgroup
    fails_with 0 "0::/sub/deeper"
    run bh exec --cgroup none c1 true
    fails_with 255 "cgroup none of container c1: No such file"
    run bh exec --cgroup ../.. c1 cat /proc/self/cgroup
    [ "$output" = "0::/" ] # there is no way out

    run bh exec c1 /nonexistent
    fails_with 255 "stat /nonexistent: no such file or directory"
    run bh exec c1 nonexistent
    fails_with 255 "executable file not found"
    run --separate-stderr bh exec --preserve-fds 2 c1 sh -c 'echo ran; ls /proc/self/fd | wc -l'
    [ "$status" -eq 0 ]
    [[ $stderr == *"--preserve-fds 2: the container's process runs without them"* ]]
    [ "$output" = $'ran\n4' ] # ls has one of its own
    run bh exec --detach --tty c1 true
    fails_with 255 "needs --console-socket"
    run bh exec --console-socket "$WORK/none" c1 true
    fails_with 255 "the process has no terminal"
    bh delete --force c1
}

@test "exec --detach with --process and a pid-file; ps knows its pid; SIGKILL of the pid kills it" {
    create_container c1
    bh start c1
    jq '.process | .args = ["sleep", "2000"]' "$BUNDLE/config.json" >"$WORK/process.json"
    bh exec --detach --process "$WORK/process.json" --pid-file "$WORK/pid" c1 </dev/null >/dev/null 2>&1
    pid=$(cat "$WORK/pid")
    [ "$(wc -c <"$WORK/pid")" -eq ${#pid} ] # no newline
    [ "$(bh ps --format json c1)" = "[$(cat "$WORK/c1.pid"),$pid]" ]
    bh ps c1 | grep -q "sleep 2000"
    [ "$(readlink "/proc/$pid/ns/net")" = "$(readlink "/proc/$(cat "$WORK/c1.pid")/ns/net")" ]
    kill -KILL "$pid"
    while bh ps c1 | grep -q "sleep 2000"; do sleep 0.1; done
    [ "$(bh ps --format json c1)" = "[$(cat "$WORK/c1.pid")]" ]
    [ "$(status_of c1)" = running ]
    # the fields of a process object that are wrong are named
    jq '.process | .args = []' "$BUNDLE/config.json" >"$WORK/process.json"
    run bh exec --process "$WORK/process.json" --pid-file "$WORK/pid2" c1
    fails_with 255 "process.args"
    [ ! -e "$WORK/pid2" ]
    bh delete --force c1
}

# Moments are the calls by which others learn of it: its shim, the container's state, each request to the guest, the hand-over to the
# shim, the pid-file. Between two of them, when it is killed makes no difference to anyone.
@test "exec that is killed at any moment leaves nothing in the guest" {
    local exec call n pid
    create_container c1
    bh start c1
    exec=("$BULKHEAD" --root "$ROOT" exec --detach --pid-file "$WORK/pid" c1)
    moments clone3,write,renameat,sendmsg,linkat "${exec[@]}" true >"$WORK/moments"
    cat "$WORK/moments"
    [ "$(wc -l <"$WORK/moments")" -ge 12 ]
    for call in clone3 write renameat sendmsg linkat; do grep -q "^$call " "$WORK/moments"; done
    rm "$WORK/pid"
    while read -r call n; do
        killed_at "$call" "$n" "${exec[@]}" sleep 3000
        [ ! -e "$WORK/pid" ]
        # a shim that was handed over stands for a process that runs: it goes by its own pid
        for pid in $(bh ps --format json c1 | jq '.[1:][]'); do kill -KILL "$pid" || true; done
    done <"$WORK/moments"
    until [ "$(bh ps c1 | wc -l)" -eq 2 ]; do sleep 0.1; done
    bh ps c1 | grep -q "sleep 1000"
    bh delete --force c1
}

@test "exec in a container that is created, paused, stopped" {
    local begin whole known
    create_container c1
    [ "$(bh exec c1 echo before the start)" = "before the start" ]
    bh start c1
    begin=$(date +%s%N)
    bh exec c1 true
    whole=$(($(date +%s%N) - begin))
    bh pause c1
    run bh exec c1 true
    fails_with 255 "cannot exec in a paused container (use --ignore-paused to override)"
    known=$(jq -c .execs "$ROOT/c1/state.json")
    bh exec --ignore-paused c1 echo thawed >"$WORK/out" 2>"$WORK/err" </dev/null &
    # its shim is on record, and it has had twice the time that a whole one took
    until [ "$(jq -c .execs "$ROOT/c1/state.json")" != "$known" ]; do sleep 0.05; done
    sleep "$(awk "BEGIN {print 2 * $whole / 1e9}")"
    [ ! -s "$WORK/out" ]
    bh resume c1
    wait $!
    [ "$(cat "$WORK/out")" = thawed ]
    bh kill c1 KILL
    wait_status c1 stopped
    run bh exec c1 true
    fails_with 255 "cannot exec in a stopped container"
    bh delete c1
}
