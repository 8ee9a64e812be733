#!/usr/bin/env bats
# The verbs beside the life-cycle: exec, ps, pause, resume, events, update, and the hooks of the host.

load ../helper

setup() {
    make_work
    make_bundle
    args sleep 1000
}

teardown() {
    clean_up
}

@test "exec: output, status, environment, a command that is not there" {
    create_container c1
    bh start c1
    run bh exec --env A=b --cwd /tmp --user 5:6 c1 sh -c 'echo $A; pwd; id -u; id -g; exit 7'
    [ "$status" -eq 7 ]
    [ "$output" = $'b\n/tmp\n5\n6' ]
    [ "$(echo in | bh exec c1 cat)" = in ]
    run bh exec c1 /nonexistent
    fails_with 255 "stat /nonexistent: no such file or directory"
    bh delete --force c1
    leftovers
}

@test "exec --detach with --process and a pid-file; ps knows its pid; SIGKILL of the pid kills it" {
    create_container c1
    bh start c1
    jq '.process | .args = ["sleep", "2000"]' "$BUNDLE/config.json" >"$WORK/process.json"
    bh exec --detach --process "$WORK/process.json" --pid-file "$WORK/pid" c1 </dev/null >/dev/null 2>&1
    pid=$(cat "$WORK/pid")
    [ "$(bh ps --format json c1)" = "[$(cat "$WORK/c1.pid"),$pid]" ]
    bh ps c1 | grep -q "sleep 2000"
    kill -KILL "$pid"
    while bh ps c1 | grep -q "sleep 2000"; do sleep 0.1; done
    [ "$(bh ps --format json c1)" = "[$(cat "$WORK/c1.pid")]" ]
    [ "$(status_of c1)" = running ]
    bh delete --force c1
    leftovers
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
    sleep 1
    [ "$(stat -c %s "$WORK/c1.out")" -eq "$size" ]
    bh resume c1
    [ "$(status_of c1)" = running ]
    until [ "$(stat -c %s "$WORK/c1.out")" -gt "$size" ]; do sleep 0.1; done
    bh delete --force c1
    leftovers
}

@test "events --stats; update changes a limit" {
    create_container c1
    bh start c1
    bh events --stats c1 | jq -e '.type == "stats" and .data.pids.current == 1 and .data.memory.usage.usage > 0'
    bh update --memory 64M --pids-limit 10 c1
    bh events --stats c1 | jq -e '.data.memory.usage.limit == 67108864 and .data.pids.limit == 10'
    echo '{"pids": {"limit": 20}}' | bh update --resources - c1
    bh events --stats c1 | jq -e '.data.pids.limit == 20'
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
    leftovers
}

@test "a hook that fails fails create, and nothing is left" {
    edit '.hooks.createRuntime = [{path: "/bin/sh", args: ["sh", "-c", "echo no luck >&2; exit 3"]}]'
    run bh create --bundle "$BUNDLE" --pid-file "$WORK/pid" c1
    fails_with 1 "no luck"
    [ ! -e "$WORK/pid" ]
    leftovers
}

@test "checkpoint and restore refuse" {
    run bh checkpoint --image-path /tmp/x c1
    fails_with 1 "checkpoint is not supported"
    run bh checkpoint --help
    [ "$status" -ne 0 ]
    run bh restore c1
    fails_with 1 "restore is not supported"
}
