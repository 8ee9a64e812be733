#!/usr/bin/env bats
# Bad input that is found before any VM is made: one clear error naming the thing, and nothing left behind.

load ../helper

setup() {
    make_work
    make_bundle
}

teardown() {
    clean_up
}

refused() { # TEXT [ID]
    run bh create --bundle "$BUNDLE" --pid-file "$WORK/pid" "${2-c1}"
    fails_with 1 "$1"
    [ ! -e "$WORK/pid" ]
    leftovers
}

@test "config.json missing" {
    rm "$BUNDLE/config.json"
    refused "bundle $BUNDLE has no config.json: \`bulkhead spec\` writes one"
}

@test "bundle missing" {
    run bh create --bundle "$WORK/no-such-bundle" c1
    fails_with 1 "bundle $WORK/no-such-bundle does not exist: --bundle names the directory"
    leftovers
}

@test "config.json is not JSON" {
    echo '{"ociVersion": ' >"$BUNDLE/config.json"
    refused "config.json"
}

@test "wrong types are named by their path" {
    edit '.process.args = "sh"'
    refused "process.args"
}

@test "process.cwd relative" {
    edit '.process.cwd = "tmp"'
    refused "process.cwd must be absolute"
}

@test "process.args empty" {
    edit '.process.args = []'
    refused "process.args"
}

@test "unsupported ociVersion" {
    edit '.ociVersion = "2.0.0"'
    refused "ociVersion"
}

@test "rootfs missing, or not a directory" {
    edit '.root.path = "nowhere"'
    refused "root.path $BUNDLE/nowhere does not exist: "
    touch "$BUNDLE/file"
    edit '.root.path = "file"'
    refused "file"
}

@test "ids: empty, with / or .., too long" {
    refused "container id" ""
    refused "container id" "a/b"
    refused "container id" ".."
    refused "container id" "$(printf 'a%.0s' $(seq 1025))"
}

@test "unknown containers" {
    for verb in start state "kill" delete; do
        run bh $verb nobody
        fails_with 1 "does not exist"
    done
}

@test "unknown verbs and options" {
    run bh bogus
    [ "$status" -eq 3 ]
    run bh create --bogus c1
    [ "$status" -eq 1 ]
    [[ $output == *bogus* ]]
    run bh create
    fails_with 1 "requires exactly 1 argument"
}

@test "what is not supported is refused by name" {
    edit '.process.apparmorProfile = "docker-default"'
    refused "apparmorProfile"
    make_bundle "$WORK/b2" && cp "$WORK/b2/config.json" "$BUNDLE/config.json"
    edit '.linux.intelRdt = {closID: "x"}'
    refused "intelRdt"
    cp "$WORK/b2/config.json" "$BUNDLE/config.json"
    edit '.linux.mountLabel = "system_u:object_r:svirt_sandbox_file_t:s0"'
    refused "mountLabel"
    cp "$WORK/b2/config.json" "$BUNDLE/config.json"
    edit '.vm.hypervisor = {path: "/usr/bin/qemu"}'
    refused "vm.hypervisor"
    cp "$WORK/b2/config.json" "$BUNDLE/config.json"
    edit '.annotations["dev.bulkhead.colour"] = "red"'
    refused "dev.bulkhead.colour"
}

@test "errors stand on stderr and in the log, in the format asked for" {
    rm "$BUNDLE/config.json"
    run bash -c "'$BULKHEAD' --root '$ROOT' --log '$WORK/log' --log-format json create --bundle '$BUNDLE' c1 2>&1 >/dev/null"
    [ "$status" -eq 1 ]
    [[ $output == *config.json* ]]
    [ "$(jq -s length "$WORK/log")" -eq 1 ]
    [ "$(jq -r .level "$WORK/log")" = error ]
    jq -r .msg "$WORK/log" | grep -q config.json
    jq -r .time "$WORK/log" | grep -qE '^[0-9-]+T[0-9:.]+(Z|[+-][0-9:]+)$'
}
