#!/usr/bin/env bats
# What `make demo` shows, judged.

load ../helper

@test "the demo's steps: exit status 42, a shared file, the life-cycle, the table of times" {
    run "$CHECKOUT/tests/demo/steps" "$BULKHEAD_BUILD"
    [ "$status" -eq 0 ]
    [[ $output == *"host:      Linux $(uname -r)"* ]]
    [[ $output == *"container: Linux"*"-bulkhead"* ]]
    [[ $output == *"exit status: 42"* ]]
    [[ $output == *"written in the virtual machine"* ]]
    [[ $output == *'"status": "created"'*'"status": "running"'*"got SIGTERM"*'"status": "stopped"'* ]]
    for phase in "VMM and file server started" "agent ready" "container created" "first instruction" "exit seen"; do
        [[ $output == *"$phase"* ]]
    done
}
