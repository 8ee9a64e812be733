#!/usr/bin/env bats
# `bulkhead check` without KVM: it says so, what to do, and status 77.

load ../helper

teardown() {
    clean_up
}

@test "check without /dev/kvm: status 77, and what to do" {
    [ ! -e /dev/kvm ] || skip "this machine has /dev/kvm"
    run "$BULKHEAD" check
    fails_with 77 "enable virtualisation in the firmware"
    [[ ${lines[-1]} == "containers cannot run: no usable /dev/kvm"* ]]
}

@test "check --json without /dev/kvm agrees" {
    [ ! -e /dev/kvm ] || skip "this machine has /dev/kvm"
    run "$BULKHEAD" check --json
    [ "$status" -eq 77 ]
    jq -e '.canRun == false and .status == 77' <<<"$output"
    jq -e '[.checks[] | select(.id == "kvm-device") | .verdict == "FAIL" and (.mend | length > 0)] == [true]' <<<"$output"
    # nothing of KVM is claimed
    jq -e '[.checks[] | select(.where == "kvm")] == []' <<<"$output"
}

@test "check says how clients are set up to call this very program" {
    cp "$BULKHEAD" "$WORK/elsewhere"
    run "$WORK/elsewhere" check --json
    jq -e --arg path "$WORK/elsewhere" '[.checks[] | select(.id == "podman" or .id == "containerd")] |
        length == 2 and all(.mend == "" or (.mend | contains("\"" + $path + "\"")))' <<<"$output"
}

@test "check takes no arguments" {
    run "$BULKHEAD" check now
    [ "$status" -eq 1 ]
}
