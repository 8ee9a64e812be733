#!/usr/bin/env bats
# buildah with Bulkhead as its runtime: each RUN is a container, in a VM of its own.

bats_require_minimum_version 1.5.0
load ../helper
load ../podman

# ba_run WORD...: with what every container here wants
ba_run() {
    ba run --runtime "$BULKHEAD" --isolation oci --network=none "$@"
}

@test "from, run, config, commit: each command in a kernel of its own" {
    local c
    mkdir "$WORK/dir"
    c=$(ba from --pull-never localhost/busybox)
    run --separate-stderr ba_run --env FOO=bar --workingdir /tmp -v "$WORK/dir:/dir" "$c" \
        sh -c 'echo "$FOO $PWD"; uname -r; echo made >/made; echo bind >/dir/f; echo err >&2; exit 7'
    echo "$output; $stderr"
    [ "$status" -eq 7 ]
    [ "${lines[0]}" = "bar /tmp" ]
    [ "${lines[1]}" != "$(uname -r)" ]
    [[ $stderr == *err* ]]
    [ "$(cat "$WORK/dir/f")" = bind ]
    run ba_run "$c" no-such-command
    [ "$status" -ne 0 ]
    [[ $output == *"executable file not found"* ]]
    run "$CHECKOUT/tests/bats/on-terminal" bash -c "$(declare -f ba ba_run); ba_run --tty $c cat /made" </dev/null
    [ "$output" = $'made\r' ]
    ba config --cmd 'cat /made' "$c"
    ba commit --rm -q "$c" localhost/made
    [ "$(pm run --rm --network=none localhost/made)" = made ]
    ba rmi localhost/made
}

@test "bud: a Containerfile with RUN, COPY, USER and a failing step" {
    mkdir "$WORK/context"
    echo of-the-context >"$WORK/context/file"
    cat >"$WORK/context/Containerfile" <<'END'
FROM localhost/busybox
ENV NAME=value
RUN mkdir /built && chown 1234 /built
COPY file /built/file
USER 1234
WORKDIR /built
RUN echo "$NAME $(id -u) $(cat file)" >out && uname -r >kernel
END
    run ba bud --runtime "$BULKHEAD" --isolation oci --network=none --pull-never --layers -t localhost/built "$WORK/context"
    echo "$output"
    [ "$status" -eq 0 ]
    c=$(ba from --pull-never localhost/built)
    root=$(ba mount "$c")
    [ "$(cat "$root/built/out")" = "value 1234 of-the-context" ]
    [ "$(stat -c %u "$root/built/out")" = 1234 ]
    [ "$(cat "$root/built/kernel")" != "$(uname -r)" ]
    ba umount "$c"
    ba rm "$c"
    echo "RUN exit 9" >>"$WORK/context/Containerfile"
    run ba bud --runtime "$BULKHEAD" --isolation oci --network=none --pull-never --layers "$WORK/context"
    [ "$status" -ne 0 ]
    [[ $output == *"exit status 9"* ]]
    ba rm -a
    ba rmi localhost/built
}
