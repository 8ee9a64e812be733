#!/usr/bin/env bats
# `bulkhead check` where KVM is: everything passes or says why it is skipped, and nothing that lies gets through.

bats_require_minimum_version 1.5.0
load ../helper

@test "check: containers can run; each line is PASS, or SKIP with its reason" {
    run "$BULKHEAD" check
    echo "$output"
    [ "$status" -eq 0 ]
    [[ ${lines[-1]} == "containers will run"* ]]
    # one line a check, nothing failed
    [ "$(grep -c '^PASS' <<<"$output")" -ge 30 ]
    run ! grep -E '^FAIL' <<<"$output"
    # a SKIP has something after its name
    run ! grep -E '^SKIP +([0-9]+ +)?[a-z-]+ +[^:]*$' <<<"$("$BULKHEAD" check)"
}

@test "check --json says the same" {
    "$BULKHEAD" check --json >"$WORK/json"
    jq -e '.canRun == true and .status == 0 and (.verdict | startswith("containers will run"))' "$WORK/json"
    jq -e '[.checks[] | select(.verdict == "FAIL")] == []' "$WORK/json"
    jq -e '[.checks[] | select(.verdict == "SKIP") | .seen | length > 0] | all' "$WORK/json"
    # each of the twenty families is there
    jq -e '[.checks[] | select(.where == "kvm") | .number] | unique == [range(1; 21)]' "$WORK/json"
    # the same checks with the same verdicts as in the table
    "$BULKHEAD" check >"$WORK/table"
    diff <(jq -r '.checks[] | "\(.verdict) \(.id)"' "$WORK/json") \
        <(grep -E '^(PASS|FAIL|SKIP)' "$WORK/table" | awk '{print $1, $2 ~ /^[0-9]+$/ ? $3 : $2}')
}

@test "check: a KVM that lies is found out, in each check" {
    cc -std=gnu11 -D_GNU_SOURCE -I "$CHECKOUT" -Wl,--wrap=ioctl -Wl,--wrap=mmap -o "$WORK/lying" \
        "$CHECKOUT/tests/fixtures/lying-kvm.c" -Wl,--start-group "$BULKHEAD_BUILD/vmm.a" "$BULKHEAD_BUILD/lib.a" \
        -Wl,--end-group -lseccomp -lcap-ng -lpthread
    run "$WORK/lying"
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(grep -c '^ok' <<<"$output")" -ge 60 ]
}

@test "check leaves nothing: no process, no descriptor, no mapping" {
    "$BULKHEAD" check >/dev/null
}

@test "check: what is wrong with the guest is said, with status 1" {
    jq '.kernel = "/etc/passwd"' "$CHECKOUT/configs/bulkhead.json" >"$WORK/bulkhead.json"
    run "$BULKHEAD" --config "$WORK/bulkhead.json" check
    fails_with 1 "/etc/passwd is not an ELF file"
    [[ ${lines[-1]} == "containers cannot run: no guest kernel that can be booted" ]]
    jq '.initrd = "/etc/passwd"' "$CHECKOUT/configs/bulkhead.json" >"$WORK/bulkhead.json"
    run "$BULKHEAD" --config "$WORK/bulkhead.json" check
    fails_with 1 "not an uncompressed cpio archive"
    jq '.vmm = "/no/such/vmm"' "$CHECKOUT/configs/bulkhead.json" >"$WORK/bulkhead.json"
    run "$BULKHEAD" --config "$WORK/bulkhead.json" check
    fails_with 1 "/no/such/vmm"
    echo '{"colour": 1}' >"$WORK/bulkhead.json"
    run "$BULKHEAD" --config "$WORK/bulkhead.json" check
    fails_with 1 "colour"
}

@test "check: /dev/kvm absent, or forbidden: status 77, and what to do" {
    run unshare -m bash -c "mount -t tmpfs none /dev && mknod -m 666 /dev/null c 1 3 && '$BULKHEAD' check"
    fails_with 77 "enable virtualisation in the firmware"
    [[ ${lines[-1]} == "containers cannot run: no usable /dev/kvm"* ]]
    # the build tree may lie where only root can look
    cp "$BULKHEAD" "$WORK/bulkhead"
    chmod -R a+rX "$WORK"
    run unshare -m bash -c "mknod -m 600 '$WORK/kvm' c 10 232 && mount --bind '$WORK/kvm' /dev/kvm &&
        setpriv --reuid=65534 --regid=65534 --clear-groups '$WORK/bulkhead' check --json"
    [ "$status" -eq 77 ]
    jq -e '[.checks[] | select(.id == "kvm-device") | .verdict == "FAIL" and (.seen | contains("Permission denied"))] == [true]' <<<"$output"
}
