#!/usr/bin/env bats
# Whatever is killed, and whenever: the next delete --force leaves nothing.

load ../helper

setup() {
    make_work
    make_bundle
    args sleep 1000
}

# Moments are the calls by which it makes what outlives it, or tells others of it: directories of the state and of the cgroup, the
# state itself, sockets, processes, the requests to the guest, the hand-over to the shim, the pid-file.
@test "a create that is killed between any two things that it makes" {
    local create call n
    create=("$BULKHEAD" --root "$ROOT" create --bundle "$BUNDLE" --pid-file "$WORK/c1.pid" c1)
    moments mkdir,mkdirat,renameat,bind,clone3,connect,sendmsg,linkat "${create[@]}" >"$WORK/moments"
    cat "$WORK/moments"
    for call in mkdir mkdirat renameat bind clone3 connect sendmsg linkat; do grep -q "^$call " "$WORK/moments"; done
    bh delete --force c1
    rm "$WORK/c1.pid"
    while read -r call n; do
        rm -rf "$ROOT"
        killed_at "$call" "$n" "${create[@]}"
        [ ! -e "$WORK/c1.pid" ]
        bh delete --force c1
        leftovers || { echo "killed at $call $n"; return 1; }
    done <"$WORK/moments"
}

# The moments are the twelfths of what a whole one takes: most of it is the guest's, which nothing on the host marks.
@test "a create that is killed at any moment" {
    local begin end whole i status killed=0
    begin=$(date +%s%N)
    create_container c1
    end=$(date +%s%N)
    whole=$((end - begin))
    bh delete --force c1
    for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
        "$BULKHEAD" --root "$ROOT" create --bundle "$BUNDLE" --pid-file "$WORK/c1.pid" c1 </dev/null >/dev/null 2>&1 &
        sleep "$(awk "BEGIN {print $whole * $i / 12 / 1e9}")"
        kill -KILL $! 2>/dev/null || true # it may have come to its end
        status=0
        wait $! || status=$?
        [ "$status" -eq 0 ] || [ "$status" -eq 137 ]
        [ "$status" -eq 0 ] || killed=$((killed + 1))
        bh delete --force c1
        leftovers
    done
    [ "$killed" -ge 6 ]
}

@test "delete --force of a container that another call still creates" {
    bh create --bundle "$BUNDLE" c1 </dev/null >/dev/null 2>"$WORK/err" &
    until [ -e "$ROOT/c1/vmm.log" ]; do sleep 0.01; done
    bh delete --force c1
    # it lost its VM, or had just finished: either way there is nothing left
    wait $! || grep -q "bulkhead create failed" "$WORK/err"
}

@test "SIGKILL ends a container whose VM does not answer any more" {
    create_container c1
    bh start c1
    kill -STOP "$(pid_of vmm c1)"
    bh kill c1 KILL
    wait_status c1 stopped
    bh delete c1
}

@test "the file server is killed: the container can still be killed and deleted" {
    create_container c1
    bh start c1
    kill -KILL "$(pid_of fs c1)"
    bh kill c1 KILL
    wait_status c1 stopped
    bh delete c1
}

@test "SIGTERM to all of a container's processes, as when a scope is stopped, is the container's to answer" {
    # shellcheck disable=SC2016
    args sh -c 'trap "sleep 1; exit 5" TERM; echo up; while :; do sleep 0.1; done'
    local ended=0
    "$BULKHEAD" --root "$ROOT" run --bundle "$BUNDLE" c1 </dev/null >"$WORK/out" 2>"$WORK/err" &
    wait_text "$WORK/out" up
    kill -TERM "$(pid_of vmm c1)" "$(pid_of fs c1)" "$(pid_of shim c1)"
    wait $! || ended=$?
    [ "$ended" -eq 5 ]
}
