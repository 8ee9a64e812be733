#!/usr/bin/env bats
# `bulkhead check` without KVM: it says so, what to do, and status 77.

load ../helper

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

@test "check takes no arguments" {
    run "$BULKHEAD" check now
    [ "$status" -eq 1 ]
}
