#!/usr/bin/env bats
# podman with Bulkhead as its runtime: one container's life in each test, with as many of podman's verbs as it can take.

bats_require_minimum_version 1.5.0
load ../helper
load ../podman

# asked STATUS TEXT OPTION...: a container with these options; podman says TEXT
asked() {
    local wanted=$1 text=$2
    shift 2
    run pm run --rm "$@" localhost/busybox true
    fails_with "$wanted" "$text"
}

# refused TEXT OPTION...: by Bulkhead, in its own words
refused() {
    local text=$1
    shift
    asked 126 "$text" "$@"
    [[ $output == *"OCI runtime error: $(realpath "$BULKHEAD"): bulkhead create failed: "* ]] || { echo "$output"; return 1; }
}

@test "run --rm: output, exit status, and all that was asked of the process" {
    mkdir "$WORK/dir"
    echo of-the-host >"$WORK/file"
    cat >"$WORK/seccomp.json" <<END
{"defaultAction": "SCMP_ACT_ALLOW",
 "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}]}
END
    cat >"$WORK/dir/look" <<'END'
[ "$(uname -r)" = "$HOST_KERNEL" ] || echo "another kernel"
echo "host $(hostname) cwd $PWD env $FOO"
echo "init $(cat /proc/1/comm)"
echo "user $(id -u):$(id -g)"
grep -E '^(Cap(Eff|Bnd)|NoNewPrivs)' /proc/self/status
cd /sys/fs/cgroup && echo "limits $(cat memory.max) $(cat pids.max) $(cat cpu.max)"
mkdir /scratch/no 2>&1
cd / && for d in / /etc /dir /volume /scratch; do touch $d/new 2>/dev/null && echo "can write $d"; done
touch /file 2>&1
cat /file
df -k /scratch | awk 'END {print "scratch", $2}'
echo on-stderr >&2
exit 7
END
    run --separate-stderr pm_run --rm --env FOO=bar --env "HOST_KERNEL=$(uname -r)" --hostname boxy --workdir /tmp --init \
        --user 1000:1001 --cap-drop all --cap-add net_bind_service \
        --security-opt no-new-privileges --security-opt "seccomp=$WORK/seccomp.json" \
        --memory 96m --cpus 0.5 --pids-limit 77 --read-only --tmpfs /scratch:size=2m,mode=1777 \
        -v "$WORK/dir:/dir" -v "$WORK/file:/file:ro" -v volume1:/volume localhost/busybox sh /dir/look
    echo "$output"
    [ "$status" -eq 7 ]
    says "another kernel"
    says "host boxy cwd /tmp env bar"
    says "init podman-init"
    says "user 1000:1001"
    says "CapBnd:	0000000000000400"
    says "CapEff:	0000000000000400"
    says "NoNewPrivs:	1"
    says "limits 100663296 77 50000 100000"
    says "mkdir: can't create directory '/scratch/no': Operation not supported"
    says "can write /scratch"
    says "touch: /file: Read-only file system"
    says "of-the-host"
    says "scratch 2048"
    says "can write /volume"
    [ "$(grep -c "can write" <<<"$output")" -eq 2 ]
    [[ $stderr == *on-stderr* && $output != *on-stderr* ]]
}

@test "run: commands that are not there, not executable, killed" {
    run pm_run --rm localhost/busybox no-such-command
    fails_with 127 "executable file not found"
    run pm_run --rm localhost/busybox /etc
    fails_with 126 "permission denied"
    run pm_run --rm --init localhost/busybox sh -c 'kill -TERM $$'
    [ "$status" -eq 143 ]
}

@test "100 MiB through stdin and stdout" {
    head -c 104857600 /dev/urandom >"$WORK/data"
    pm_run --rm -i --log-driver none localhost/busybox cat <"$WORK/data" >"$WORK/back"
    cmp "$WORK/data" "$WORK/back"
}

@test "a detached container and the verbs that look at it, and into it" {
    mkdir "$WORK/dir"
    echo bind >"$WORK/dir/f"
    echo file >"$WORK/file"
    pm_run -d --name c1 --hostname boxy --memory 64m --health-cmd 'test -e /tmp/healthy' --health-interval disable \
        -v "$WORK/dir:/dir" -v "$WORK/file:/etc/file" -v volume1:/volume --tmpfs /scratch \
        localhost/busybox sh -c 'echo up; trap "exit 3" TERM; trap "echo usr1" USR1; while :; do sleep 0.2; done'
    wait_log c1 up
    [ "$(pm inspect -f '{{.State.Status}} {{.Config.Hostname}} {{.HostConfig.Memory}}' c1)" = "running boxy 67108864" ]
    run pm ps --format '{{.Names}} {{.Status}}'
    [[ $output == "c1 Up"* ]]

    # exec: status, user, environment, directory; behind our back; a terminal's is in another test
    run --separate-stderr pm exec --user 1000:1001 --env A=b --workdir /tmp c1 \
        sh -c 'echo "$(id -u):$(id -g) $A $PWD"; echo err >&2; exit 7'
    [ "$status" -eq 7 ]
    [ "$output" = "1000:1001 b /tmp" ]
    [ "$stderr" = err ]
    [ "$(echo in and out | pm exec -i c1 cat)" = "in and out" ]
    run pm exec c1 no-such-command
    fails_with 127 "executable file not found"
    run pm exec c1 /etc/file
    fails_with 126 "permission denied"
    run pm exec c1 sh -c 'kill -KILL $$'
    [ "$status" -eq 137 ]
    run pm exec c1 sh -c 'kill -TERM $$'
    [ "$status" -eq 143 ]
    pm exec -d c1 sh -c 'echo behind >/dir/behind'
    wait_text "$WORK/dir/behind" behind

    # cp: what is mounted in the container is where it has it
    echo copied >"$WORK/in"
    for d in /tmp /dir /volume; do pm cp "$WORK/in" c1:$d/in; done
    [ "$(pm exec c1 cat /tmp/in /dir/in /volume/in | sort -u)" = copied ]
    [ "$(pm exec c1 sh -c 'cat /tmp/in /dir/in /volume/in | wc -l')" = 3 ]
    [ "$(cat "$WORK/dir/in")" = copied ]
    pm cp c1:/etc/file "$WORK/out"
    cmp "$WORK/file" "$WORK/out"
    pm cp c1:/dir/f - | tar -xO | grep -qx bind
    # a tmpfs is in the guest's memory
    run pm cp "$WORK/in" c1:/scratch/in
    fails_with 125 "read-only file system"

    # diff: what was written and the mount points, nothing else
    run pm diff c1
    says "A /tmp/in"
    [[ $output != *"/dir/"* && $output != *"/volume/"* && $output != *"/dev/"* ]]
    pm commit -q c1 localhost/committed
    image=$(pm image mount localhost/committed)
    [ "$(cat "$image/tmp/in")" = copied ]
    pm image umount localhost/committed
    pm rmi localhost/committed

    # health, top, stats
    run pm healthcheck run c1
    [ "$status" -eq 1 ]
    pm exec c1 touch /tmp/healthy
    pm healthcheck run c1
    run pm top c1
    [[ ${lines[1]} == root*" 1 "* && ${#lines[@]} -eq 2 ]]
    [[ $(pm top c1 -o pid,args) == *"1 sh -c echo up"* ]]
    run pm stats --no-stream --format '{{.MemUsage}} | {{.PIDs}}' c1
    [[ $output =~ ^[0-9.]+MB\ /\ .*\ \|\ [1-9] ]]

    pm pause c1
    [ "$(pm inspect -f '{{.State.Status}}' c1)" = paused ]
    pm unpause c1
    pm kill -s USR1 c1
    wait_log c1 usr1
    pm stop -t 600 c1
    [ "$(pm inspect -f '{{.State.Status}} {{.State.ExitCode}}' c1)" = "exited 3" ]
    pm rm c1
}

@test "an overlay over a volume (:O), and ids of its own (--uidmap)" {
    mkdir "$WORK/bind" "$WORK/lower"
    chmod 711 "$WORK"
    chmod 777 "$WORK/bind"
    echo lower >"$WORK/lower/file"
    chown -R 100000:100000 "$WORK/lower"
    run pm run --rm --network=none --uidmap 0:100000:5000 -v "$WORK/bind:/bind" -v named:/named -v "$WORK/lower:/o:O" \
        --tmpfs /scratch:size=1m localhost/busybox sh -c \
        'id -u; cat /o/file; echo x >/o/new && echo x >/o/file && echo overlaid; touch /bind/f /named/f /scratch/f /root/f && echo written'
    echo "status $status: $output"
    [ "$status" -eq 0 ]
    [ "$output" = $'0\nlower\noverlaid\nwritten' ]
    [ "$(stat -c %u "$WORK/bind/f")" -eq 100000 ]
    [ "$(ls "$WORK/lower")" = file ] && [ "$(cat "$WORK/lower/file")" = lower ]
}

@test "attach, wait, kill, stop after a time, start again" {
    pm_run -di --name c1 localhost/busybox sh -c 'while read -r l; do echo "got $l"; [ "$l" != end ] || exit 5; done; sleep 1000'
    [ "$(printf 'one\nend\n' | pm attach c1)" = $'got one\ngot end' ]
    [ "$(pm wait c1)" = 5 ]
    [ "$(pm logs c1)" = $'got one\ngot end' ]
    pm start c1
    pm kill c1
    [ "$(pm wait c1)" = 137 ]
    pm start c1
    # a shell that is PID 1 and has no handler does not hear SIGTERM
    pm stop -t 1 c1
    [ "$(pm inspect -f '{{.State.ExitCode}}' c1)" = 137 ]
    pm rm c1
}

@test "a terminal: run, resize, detach, exec, attach" {
    run "$CHECKOUT/tests/bats/on-terminal" --size 33x101 bash -c "$(declare -f pm pm_run container_options); pm_run -it --name c1 --detach-keys ctrl-x localhost/busybox sh" <<'END'
expect #
send tty; stty size; echo here-$((1+1))\r
expect /dev/pts/\d+\r\n33 101\r\nhere-2
resize 44x121
send while [ "$(stty size)" != "44 121" ]; do sleep 0.2; done; echo resized-$((1+1))\r
expect resized-2
send \x18
END
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(pm inspect -f '{{.State.Status}}' c1)" = running ]
    run "$CHECKOUT/tests/bats/on-terminal" --size 20x70 bash -c "$(declare -f pm); pm exec -it c1 sh" <<'END'
expect #
send stty size; echo done-$((1+1))\r
expect 20 70\r\ndone-2
resize 21x71
send while [ "$(stty size)" != "21 71" ]; do sleep 0.2; done; exit 6\r
END
    echo "$output"
    [ "$status" -eq 6 ]
    run "$CHECKOUT/tests/bats/on-terminal" --size 50x90 bash -c "$(declare -f pm); pm attach c1" <<'END'
send \r
expect #
send while [ "$(stty size)" != "50 90" ]; do sleep 0.2; done; echo attached-$((1+1))\r
expect attached-2
send exit 9\r
END
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(pm wait c1)" = 9 ]
    pm rm c1
}

@test "a container that uses more memory than it may" {
    run pm_run --name c1 --memory 48m localhost/busybox tail /dev/zero
    [ "$status" -eq 137 ]
    # a process of it: the container goes on
    run pm_run --rm --memory 48m localhost/busybox sh -c 'tail /dev/zero; echo "was $?"; exit 4'
    [ "$status" -eq 4 ]
    says "was 137"
    pm rm c1
}

@test "--restart on-failure:1, with a directory of hooks" {
    local hook
    mkdir "$WORK/hooks"
    : >"$WORK/log"
    printf '#!/bin/sh\necho "$1 $(jq -r .status)" >>%s/log\n' "$WORK" >"$WORK/hook"
    chmod 0755 "$WORK/hook"
    for hook in prestart poststart poststop; do
        jq -n --arg path "$WORK/hook" --arg hook "$hook" '{version: "1.0.0", when: {always: true}, stages: [$hook],
            hook: {path: $path, args: ["hook", $hook], env: ["PATH=/usr/bin:/bin"]}}' >"$WORK/hooks/$hook.json"
    done
    # not by --hooks-dir: what restarts a container is not told of it
    { cat "$CONTAINERS_CONF"; echo "hooks_dir = [\"$WORK/hooks\"]"; } >"$WORK/containers.conf"
    export CONTAINERS_CONF=$WORK/containers.conf
    pm_run -d --name c1 --restart on-failure:1 localhost/busybox sh -c 'echo run; exit 3'
    until [ "$(grep -c poststop "$WORK/log")" = 2 ]; do sleep 0.2; done
    cat "$WORK/log"
    [ "$(pm logs c1 | grep -c run)" = 2 ]
    [ "$(pm inspect -f '{{.State.ExitCode}} {{.RestartCount}}' c1)" = "3 1" ]
    [ "$(grep -c 'prestart creating' "$WORK/log")" = 2 ]
    [ "$(grep -c 'poststart running' "$WORK/log")" = 2 ]
    [ "$(grep -c 'poststop stopped' "$WORK/log")" = 2 ]
    pm rm c1
}

@test "the shim is killed, conmon is killed" {
    pm_run -d --name c1 localhost/busybox sleep 1000
    kill -KILL "$(pm inspect -f '{{.State.Pid}}' c1)"
    [ "$(pm wait c1)" = 137 ]
    pm start c1
    kill -KILL "$(pm inspect -f '{{.State.ConmonPid}}' c1)"
    pm rm -f -t 0 c1
    # podman, which lost sight of the container with conmon, need not have called delete
    bh list -q | xargs -r -n 1 "$BULKHEAD" delete --force
}

@test "what docs/podman.md says cannot work" {
    local none
    read -ra none <<<"$(container_options | xargs)"
    mkdir "$WORK/shared"
    mkfifo "$WORK/fifo"
    python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$WORK/socket"
    mount --bind "$WORK/shared" "$WORK/shared"
    mount --make-shared "$WORK/shared"

    refused "network namespace path" "${none[@]:1}"
    refused 'linux.namespaces has no "network" entry' "${none[@]:1}" --network=host
    asked 0 "Port mappings have been discarded" "${none[@]}" -p 8080:80
    for namespace in pid ipc uts; do
        refused "linux.namespaces has no \"$namespace\" entry" "${none[@]}" --$namespace=host
    done
    refused "linux.devices[" "${none[@]}" --privileged
    refused "linux.devices[0] (/dev/kvm" "${none[@]}" --device /dev/kvm
    refused "is a Unix socket: the other end would be in another kernel" "${none[@]}" -v "$WORK/socket:/x"
    refused "is a fifo" "${none[@]}" -v "$WORK/fifo:/x"
    refused "is a device of the host" "${none[@]}" -v /dev/null:/x
    for of_the_kernel in /proc /sys /sys/kernel; do
        refused "belongs to the host's kernel" "${none[@]}" -v $of_the_kernel:/x
    done
    refused "option shared is not supported" "${none[@]}" -v "$WORK/shared:/x:shared"
    umount "$WORK/shared"
    [ -e /sys/fs/selinux/enforce ] || asked 0 "" "${none[@]}" --security-opt label=type:container_t
    asked 125 "sysctl 'kernel.panic' is not allowed" "${none[@]}" --sysctl kernel.panic=1
    refused "linux.resources.memory.swappiness" "${none[@]}" --memory-swappiness 10
    refused "linux.resources.memory.disableOOMKiller" "${none[@]}" --oom-kill-disable
    nothing_left

    pm_run -d --name c1 localhost/busybox sleep 1000
    refused "pid namespace path" "${none[@]}" --pid=container:c1
    command -v criu >/dev/null || {
        run pm container checkpoint c1
        fails_with 125 "requires at least CRIU"
    }
    pm rm -f -t 0 c1
}
