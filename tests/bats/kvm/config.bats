#!/usr/bin/env bats
# config.json in a real VM: few containers, each with much of it, and a program inside that says what it finds.
# docs/oci-support.md names these tests field by field.

load ../helper

setup() {
    make_work
    make_bundle
}

clean_up() {
    mount | awk -v w="$WORK/" 'index($3, w) == 1 { print $3 }' | tac | xargs -r -n 1 umount -l 2>/dev/null || true
    remove_containers
    rm -rf "$WORK"
}

# program: what the container runs, from stdin, as /facts in its root
program() {
    cat >"$BUNDLE/rootfs/facts"
    chmod 755 "$BUNDLE/rootfs/facts"
}

# wait_path PATH: until it exists
wait_path() {
    until [ -e "$1" ]; do sleep 0.05; done
}

# fact KEY VALUE: the container's program printed "KEY=VALUE"
fact() {
    grep -qxF -- "$1=$2" <<<"$output" && return
    echo "wanted $1=$2, but it is: $(grep -F -- "$1=" <<<"$output" || echo not there)"
    return 1
}

@test "process, names, sysctls, time and paths: a user's process sees all that was asked for" {
    mkdir -p "$BUNDLE/rootfs/opt/tools" "$BUNDLE/rootfs/masked-dir" "$BUNDLE/rootfs/readonly"
    chmod 1777 "$BUNDLE/rootfs/tmp" "$BUNDLE/rootfs/readonly" "$BUNDLE/rootfs/masked-dir"
    echo secret | tee "$BUNDLE/rootfs/masked-file" >"$BUNDLE/rootfs/masked-dir/f"
    cat >"$BUNDLE/rootfs/opt/tools/from-path" <<'SCRIPT'
#!/bin/sh
status() { sed -n "s/^$1:[[:space:]]*//p" /proc/self/status; }
echo "args=$0 $*"
echo "cwd=$(pwd)"
echo "env=$GREETING"
echo "ids=$(id -u):$(id -g):$(id -G)"
echo "umask=$(umask)"
for set in CapInh CapPrm CapEff CapBnd CapAmb NoNewPrivs Seccomp; do echo "$set=$(status $set)"; done
echo "nofile=$(ulimit -Sn):$(ulimit -Hn)"
echo "core=$(ulimit -Sc)"
echo "oom=$(cat /proc/self/oom_score_adj)"
echo "nice-policy=$(cut -d' ' -f19,41 /proc/self/stat)"
echo "io=$(ionice -p $$)"
echo "machine=$(uname -m)"
echo "personality=$(cat /proc/self/personality)"
echo "hostname=$(hostname)"
echo "domainname=$(cat /proc/sys/kernel/domainname)"
echo "sysctl=$(cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max | tr '\n' ' ')"
echo "offsets=$(tr -s ' \n' ' ' </proc/self/timens_offsets)"
echo "uptime-days=$(($(cut -d. -f1 /proc/uptime) / 86400))"
echo "cgroup=$(cat /proc/self/cgroup)"
echo "namespaces=$(ls /proc/self/ns | wc -l)"
echo "root=$(awk '$5 == "/" { print $7 }' /proc/self/mountinfo | cut -d: -f1)"
echo "masked-file=$(cat /masked-file)"
echo "masked-dir=$(ls /masked-dir)"
echo "readonly=$(touch /readonly/x 2>&1)"
echo "filtered=$(mkdir /tmp/no 2>&1)"
echo "fifo=$(stat -c '%F %a %u:%g' /dev/pipes/fifo)"
echo "tun=$(stat -c '%F %t:%T %a %u:%g' /dev/net/tun)"
echo "defaults=$(stat -c %t:%T /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty | tr '\n' ' ')"
echo "links=$(for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done | tr '\n' ' ')"
for file in memory.max memory.low memory.high cpu.weight cpu.max cpu.max.burst pids.max; do
    echo "$file=$(cat /sys/fs/cgroup/$file)"
done
echo "allowed=$( (: <>/dev/net/tun) 2>&1 && echo open)"
echo "denied=$( (: </dev/fuse) 2>&1)"
echo "by-hooks=$(cat /etc/from-hook /tmp/from-start | tr '\n' ' '): $(ls /mnt)"
SCRIPT
    chmod 755 "$BUNDLE/rootfs/opt/tools/from-path"
    local say="PATH=/bin:/usr/bin:/sbin:/usr/sbin"
    edit '.process += {
            args: ["from-path", "one", "two words"], cwd: "/made/for/it", noNewPrivileges: true, oomScoreAdj: 345,
            env: ["PATH=/nowhere:/opt/tools:/bin:/usr/bin", "GREETING=hello there"],
            user: {uid: 1000, gid: 1001, umask: 63, additionalGids: [5, 2000]},
            capabilities: {bounding: ["CAP_CHOWN", "CAP_KILL", "CAP_BOGUS"], permitted: ["CAP_KILL"],
                effective: ["CAP_KILL"], inheritable: ["CAP_KILL"], ambient: ["CAP_KILL"]},
            rlimits: [{type: "RLIMIT_NOFILE", soft: 77, hard: 99}, {type: "RLIMIT_CORE", soft: 0, hard: 0}],
            scheduler: {policy: "SCHED_BATCH", nice: 5}, ioPriority: {class: "IOPRIO_CLASS_BE", priority: 3}} |
        .hostname = "rich" | .domainname = "example.test" |
        .annotations = {"org.example.key": "kept"} |
        .linux.namespaces += [{type: "time"}] |
        .linux.timeOffsets = {boottime: {secs: 864000}, monotonic: {secs: 86400, nanosecs: 5}} |
        .linux.sysctl = {"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242", "fs.mqueue.msg_max": "33"} |
        .linux.personality = {domain: "LINUX32"} | .linux.rootfsPropagation = "rshared" |
        .linux.maskedPaths += ["/masked-file", "/masked-dir", "/not/there"] |
        .linux.readonlyPaths += ["/readonly", "/not/there"] |
        .linux.resources = {
            devices: [{allow: false, access: "rwm"}, {allow: true, type: "c", major: 10, minor: 200, access: "rw"}],
            memory: {limit: 67108864, reservation: 8388608, checkBeforeUpdate: true}, pids: {limit: 99},
            cpu: {shares: 512, quota: 50000, period: 100000, burst: 10000},
            unified: {"memory.high": "60817408"}} |
        .linux.devices = [
            {path: "/dev/pipes/fifo", type: "p", fileMode: 416, uid: 7, gid: 8},
            {path: "/dev/net/tun", type: "c", major: 10, minor: 200, fileMode: 438},
            {path: "/dev/fuse", type: "c", major: 10, minor: 229, fileMode: 438}] |
        .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", architectures: ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            syscalls: [{names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 38}]} |
        def host($text): [{path: "/bin/sh", args: ["sh", "-c", $text], env: ["'"$say"'", "LOG='"$WORK"'/hooks"]}];
        .hooks = {
            prestart: host("echo prestart $(pwd) $(jq -r .status) >>$LOG"),
            createRuntime: host("echo createRuntime $(jq -r .id) >>$LOG"),
            createContainer: host("echo createContainer $(jq -r \".annotations[]\") >>$LOG; echo host >rootfs/etc/from-hook;
                mount -t tmpfs none rootfs/mnt && touch rootfs/mnt/unseen; readlink /proc/self/ns/net >>$LOG"),
            startContainer: [{path: "/bin/sh", args: ["sh", "-c", "mkdir /tmp/by-hook && cat /etc/hostname >/tmp/from-start"],
                env: ["PATH=/bin"]}],
            poststart: host("echo poststart $(jq -r .status) >>$LOG"),
            poststop: host("echo poststop $(jq -r .status) $(env | grep -c ^BATS) >>$LOG")}'
    run bh run --bundle "$BUNDLE" c1
    echo "status $status: $output"
    [ "$status" -eq 0 ]
    fact args '/opt/tools/from-path one two words'
    fact cwd /made/for/it
    fact env 'hello there'
    fact ids '1000:1001:1001 5 2000'
    fact umask 0077
    fact CapInh 0000000000000020
    fact CapPrm 0000000000000020
    fact CapEff 0000000000000020
    fact CapBnd 0000000000000021
    fact CapAmb 0000000000000020
    fact NoNewPrivs 1
    fact Seccomp 2
    fact nofile 77:99
    fact core 0
    fact oom 345
    fact nice-policy '5 3'
    fact io 'best-effort: prio 3'
    fact machine i686
    fact personality 00000008
    fact hostname rich
    fact domainname example.test
    fact sysctl '1 4242 33 '
    fact offsets 'monotonic 86400 5 boottime 864000 0 '
    fact uptime-days 10
    fact cgroup 0::/
    fact root shared
    fact masked-file ''
    fact masked-dir ''
    fact readonly 'touch: /readonly/x: Read-only file system'
    fact filtered "mkdir: can't create directory '/tmp/no': Function not implemented"
    fact fifo 'fifo 640 7:8'
    fact tun 'character special file a:c8 666 0:0'
    fact defaults '1:3 1:5 1:7 1:8 1:9 5:0 '
    fact links '/proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 pts/ptmx '
    fact memory.max 67108864
    fact memory.low 8388608
    fact memory.high 60817408
    fact cpu.weight 20
    fact cpu.max '50000 100000'
    fact cpu.max.burst 10000
    fact pids.max 99
    fact allowed open
    fact denied "/opt/tools/from-path: line 36: can't open /dev/fuse: Operation not permitted"
    fact by-hooks 'host bulkhead : '
    [[ $output == *"process.capabilities: unknown, left out: CAP_BOGUS"* ]]
    [ "$(stat -c '%u %a' "$BUNDLE/rootfs/tmp/by-hook")" = '1000 700' ] # under the process's umask too
    cat "$WORK/hooks"
    [ "$(grep -v '^net:' "$WORK/hooks")" = "prestart $BUNDLE creating
createRuntime c1
createContainer kept
poststart running
poststop stopped 0" ]
    [ "$(grep '^net:' "$WORK/hooks")" != "$(readlink /proc/self/ns/net)" ]
}

@test "mounts: every kind and option, in order, and none leaves the root" {
    mkdir -p "$WORK"/{data/sub,rro/sub,layers/{low,up,work},shm,slave/later,inner}
    mount -t tmpfs sub "$WORK/data/sub"
    mount -t tmpfs sub "$WORK/rro/sub"
    mount -t tmpfs -o size=2m shm "$WORK/shm"
    mount --bind "$WORK/slave" "$WORK/slave"
    mount --make-shared "$WORK/slave"
    mount -t tmpfs layers "$WORK/layers" # an overlay's upper layer cannot be on another overlay
    mkdir -p "$WORK"/layers/{low,up,work}
    echo low | tee "$WORK/layers/low/file" >"$WORK/layers/low/kept"
    echo data >"$WORK/data/file"
    echo deep | tee "$WORK/data/sub/file" >"$WORK/rro/sub/file"
    echo inner >"$WORK/inner/file"
    echo single >"$WORK/single"
    ln -s ../../../../../../../../outside "$BUNDLE/rootfs/escape"
    ln -s /nowhere/yet "$BUNDLE/rootfs/dangling"
    mkdir -p "$BUNDLE/rootfs/copied/dir"
    echo first >"$BUNDLE/rootfs/copied/dir/file"
    chown 12:34 "$BUNDLE/rootfs/copied/dir/file"
    program <<'SCRIPT'
#!/bin/sh
options() { awk -v at="$1" '$5 == at { print $6 }' /proc/self/mountinfo | tail -n 1; }
super() { awk -v at="$1" '$5 == at { sub(/.* - /, ""); print $1, $3 }' /proc/self/mountinfo | tail -n 1; }
try() { "$@" 2>&1 && echo done; }
echo "bind=$(cat /data/file /data/sub/file | tr '\n' ' ')"
echo "bind-options=$(options /data)"
echo "norec=$(ls /norec /norec/sub | tr '\n' ' ')"
echo "bind-write=$(try touch /data/new)"
echo "ro=$(try touch /ro/x)"
echo "rro=$(try touch /rro/sub/x)"
echo "rro-options=$(options /rro)"
echo "single=$(cat /new/dir/single)"
echo "single-write=$(echo changed >/new/dir/single && cat /new/dir/single)"
echo "single-ro=$(try touch /new/dir/single-ro)"
echo "tmpfs=$(super /t)"
echo "tmpfs-options=$(options /t)"
echo "tmpfs-mode=$(stat -c %a /t)"
echo "noexec=$(echo '#!/bin/sh' >/t/script && chmod 755 /t/script && try /t/script)"
echo "nested=$(cat /t/in/file)"
echo "hidden=$(ls /hidden)"
echo "copyup=$(cat /copied/dir/file) $(stat -c %u:%g /copied/dir/file) $(try touch /copied/x)"
echo "overlay=$(cat /overlay/file) $(rm /overlay/file; echo new >/overlay/new; ls /overlay | tr '\n' ' ')"
echo "overlay-ro=$(cat /overlay-ro/kept) $(try touch /overlay-ro/x)"
echo "shm=$(super /dev/shm | cut -d' ' -f1) $(df -k /dev/shm | awk 'NR == 2 { print $2 }') $(stat -c %a /dev/shm)"
echo "mqueue=$(super /dev/mqueue | cut -d' ' -f1)"
echo "pts=$(super /dev/pts) $(ls /dev/pts)"
echo "proc=$(super /proc | cut -d' ' -f1) sys=$(super /sys | cut -d' ' -f1)"
echo "cgroup=$(super /sys/fs/cgroup | cut -d' ' -f1) $(mkdir /sys/fs/cgroup/own && ls -d /sys/fs/cgroup/own)"
echo "remounted=$(try touch /again/x)"
echo "escape=$(cat /outside/file) dangling=$(cat /nowhere/yet/file)"
echo "unbindable=$(grep -c ' /unbindable .*unbindable' /proc/self/mountinfo)"
echo "root=$(try touch /x)"
touch /data/ready
while [ ! -e /slave/later/hello ]; do sleep 0.1; done
echo "slave=$(cat /slave/later/hello)"
SCRIPT
    edit '.root.readonly = true | .process.args = ["/facts"] |
        (.mounts[] | select(.destination == "/dev/shm")) |= {destination: "/dev/shm", type: "bind", source: "'"$WORK"'/shm", options: ["bind", "rprivate", "nosuid", "noexec", "nodev"]} |
        (.mounts[] | select(.destination == "/sys/fs/cgroup") | .options) |= map(select(. != "ro")) |
        .mounts += ([
        {destination: "/data", type: "bind", source: "'"$WORK"'/data", options: ["rbind", "rprivate", "nosuid", "nodev", "noexec", "noatime"]},
        {destination: "/norec", type: "bind", source: "'"$WORK"'/data", options: ["bind"]},
        {destination: "/ro", type: "bind", source: "'"$WORK"'/data", options: ["rbind", "ro"]},
        {destination: "/rro", type: "bind", source: "'"$WORK"'/rro", options: ["rbind", "rro", "rnosuid", "rnodev", "rnoexec"]},
        {destination: "/new/dir/single", type: "bind", source: "'"$WORK"'/single", options: ["bind"]},
        {destination: "/new/dir/single-ro", source: "'"$WORK"'/single", options: ["bind", "ro"]},
        {destination: "hidden", type: "bind", source: "'"$WORK"'/inner", options: ["rbind"]},
        {destination: "/hidden", type: "tmpfs", source: "tmpfs", options: ["size=4k"]},
        {destination: "/t", type: "tmpfs", source: "scratch", options: ["size=1m,mode=1750", "noexec", "nosuid", "nodev", "strictatime"]},
        {destination: "/t/in", type: "bind", source: "'"$WORK"'/inner", options: ["rbind"]},
        {destination: "/copied", type: "tmpfs", source: "tmpfs", options: ["tmpcopyup", "ro"]},
        {destination: "/overlay", type: "overlay", source: "overlay", options: ["lowerdir='"$WORK"'/layers/low", "upperdir='"$WORK"'/layers/up", "workdir='"$WORK"'/layers/work", "private"]},
        {destination: "/overlay-ro", type: "overlay", source: "overlay", options: ["lowerdir='"$WORK"'/layers/low:'"$WORK"'/inner", "ro"]},
        {destination: "/again", type: "tmpfs", source: "tmpfs"},
        {destination: "/again", type: "tmpfs", options: ["remount", "ro"]},
        {destination: "/unbindable", type: "tmpfs", options: ["runbindable"]},
        {destination: "/escape", type: "bind", source: "'"$WORK"'/inner", options: ["rbind"]},
        {destination: "/dangling", type: "bind", source: "'"$WORK"'/inner", options: ["rbind"]},
        {destination: "/slave", type: "bind", source: "'"$WORK"'/slave", options: ["rbind", "rslave"]}])'
    {
        wait_path "$WORK/data/ready"
        mount -t tmpfs later "$WORK/slave/later"
        echo seen >"$WORK/slave/later/hello"
    } 3>&- &
    run bh run --bundle "$BUNDLE" c1
    wait
    echo "status $status: $output"
    [ "$status" -eq 0 ]
    fact bind 'data deep '
    fact bind-write 'done'
    [[ $(grep ^bind-options= <<<"$output") == *rw,nosuid,nodev,noexec,noatime* ]]
    fact norec '/norec: file sub  /norec/sub: '
    fact ro 'touch: /ro/x: Read-only file system'
    fact rro 'touch: /rro/sub/x: Read-only file system'
    [[ $(grep ^rro-options= <<<"$output") == *ro,nosuid,nodev,noexec* ]]
    fact single single
    fact single-write changed
    fact single-ro 'touch: /new/dir/single-ro: Read-only file system'
    [[ $(grep ^tmpfs= <<<"$output") == "tmpfs=tmpfs rw,size=1024k,mode=1750"* ]]
    fact tmpfs-options rw,nosuid,nodev,noexec
    fact tmpfs-mode 1750
    fact noexec '/facts: line 4: /t/script: Permission denied'
    fact nested inner
    fact hidden ''
    fact copyup 'first 12:34 touch: /copied/x: Read-only file system'
    fact overlay 'low kept new '
    fact overlay-ro 'low touch: /overlay-ro/x: Read-only file system'
    fact shm 'tmpfs 2048 1777'
    fact mqueue mqueue
    fact pts 'devpts rw,gid=5,mode=620,ptmxmode=666 ptmx'
    fact proc 'proc sys=sysfs'
    fact cgroup 'cgroup2 /sys/fs/cgroup/own'
    fact remounted 'touch: /again/x: Read-only file system'
    fact escape 'inner dangling=inner'
    fact unbindable 1
    fact root 'touch: /x: Read-only file system'
    fact slave seen
    [ "$(cat "$WORK/single")" = changed ]
    [ "$(cat "$WORK/layers/up/new")" = new ]
    [ -c "$WORK/layers/up/file" ] # how an overlay says that it is gone
    [ -e "$WORK/layers/low/file" ]
    [ ! -e /outside ] && [ ! -e /nowhere ]
    [ -d "$BUNDLE/rootfs/outside" ] && [ -d "$BUNDLE/rootfs/nowhere/yet" ]
    umount "$WORK"/{data/sub,rro/sub,shm,layers,slave/later,slave}
}

@test "a user namespace: ids mapped to the host, files, devices, an exec; no cgroup namespace" {
    chown -R 100000:100000 "$BUNDLE/rootfs"
    chmod 755 "$WORK" "$BUNDLE"
    mkdir "$WORK/foreign" "$WORK/mine"
    echo foreign >"$WORK/foreign/file"
    chown -R 100007:100008 "$WORK/mine"
    program <<'SCRIPT'
#!/bin/sh
echo "ids=$(id -u):$(id -g)"
echo "map=$(tr -s ' \n' ' ' </proc/self/uid_map)$(tr -s ' \n' ' ' </proc/self/gid_map)"
echo "owners=$(stat -c %u:%g / /foreign/file /mine | tr '\n' ' ')"
echo "made=$(touch /made && chown 7:8 /made && stat -c %u:%g /made)"
echo "foreign=$(touch /foreign/x 2>&1; cat /foreign/file)" | tr '\n' ' ' && echo
echo "devices=$(head -c 3 /dev/zero | wc -c) $(echo x >/dev/null && echo null) $(stat -c %t:%T /dev/tty)"
echo "tmpfs=$(touch /dev/shm/x && stat -c %u /dev/shm/x)"
echo "mknod=$(mknod /tmp/null c 1 3 2>&1)"
echo "sysfs=$(ls -d /sys/class/net/lo) $(cat /proc/sys/kernel/ostype)"
echo "hostname=$(hostname)"
echo "cgroup=$(sed 's/.*\///' /proc/self/cgroup) $(ls /sys/fs/cgroup/cgroup.procs)"
echo "idle=$(cat /sys/fs/cgroup/cpu.idle)"
echo up >/tmp/up
sleep 1000
SCRIPT
    edit '.process.args = ["/facts"] | .process.noNewPrivileges = false | .hostname = "mapped" | .linux.resources.cpu = {idle: 1} |
        .linux.namespaces |= (map(select(.type != "cgroup")) + [{type: "user"}]) |
        .linux.uidMappings = [{containerID: 0, hostID: 100000, size: 65536}] |
        .linux.gidMappings = [{containerID: 0, hostID: 100000, size: 65536}] |
        (["CAP_CHOWN", "CAP_MKNOD", "CAP_DAC_OVERRIDE", "CAP_SETUID"] as $more | .process.capabilities |= map_values(. + $more)) |
        .linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["sethostname"], action: "SCMP_ACT_ERRNO"}]} |
        .mounts += [
            {destination: "/foreign", type: "bind", source: "'"$WORK"'/foreign", options: ["rbind"]},
            {destination: "/mine", type: "bind", source: "'"$WORK"'/mine", options: ["rbind"]}]'
    create_container c1 || cat "$WORK/c1.err"
    bh start c1
    wait_text "$BUNDLE/rootfs/tmp/up" up
    output=$(cat "$WORK/c1.out" "$WORK/c1.err")
    echo "$output"
    fact ids 0:0
    fact map ' 0 100000 65536  0 100000 65536 '
    fact owners '0:0 65534:65534 7:8 '
    fact made 7:8
    fact foreign 'touch: /foreign/x: Permission denied foreign ' 
    fact devices '3 null 5:0'
    fact tmpfs 0
    fact mknod 'mknod: /tmp/null: Operation not permitted'
    fact sysfs '/sys/class/net/lo Linux'
    fact hostname mapped
    fact idle 1
    fact cgroup 'c1 /sys/fs/cgroup/cgroup.procs'
    [ "$(stat -c %u:%g "$BUNDLE/rootfs/made")" = 100007:100008 ]
    run bh exec --user 7:8 c1 sh -c 'id -u; touch /mine/by-exec; cat /proc/1/comm; kill -0 1 2>&1'
    echo "exec: status $status: $output"
    [[ $output == 7$'\n'facts* ]]
    [ "$(stat -c %u:%g "$WORK/mine/by-exec")" = 100007:100008 ]
    run bh exec c1 hostname other
    [ "$status" -ne 0 ]
    bh kill c1 KILL
    wait_status c1 stopped
    bh delete c1
}
