#!/usr/bin/env bats
# Files of the host in a real VM: what a container does to its tree, seen from the host, and that it
# sees nothing but its tree.

load ../helper

setup() {
    make_work
    make_bundle
}

# Every kind of request the file server knows and busybox can make; one that its filter of system
# calls forbids would end it, and the rest would fail.
@test "all kinds of operations" {
    cat >"$BUNDLE/rootfs/work" <<'SCRIPT'
set -e
mkdir -p /w/d/e
cd /w
echo one >a
echo two >>a
ln a hard
ln -s a soft
[ "$(readlink soft)" = a ]
[ "$(cat soft)" = "$(cat hard)" ]
[ "$(stat -c %h a)" = 2 ]
mv a d/moved
mv d/moved d/e/again
mkfifo fifo
mknod null c 1 3
echo dropped >null
[ "$(stat -c %F null)" = "character special file" ]
chmod 2750 d
chown 12:34 d/e/again
touch -d '2001-02-03 04:05:06' d/e/again
[ "$(stat -c '%u %g %Y' d/e/again)" = '12 34 981173106' ]
truncate -s 1000000 sparse
fallocate -l 4096 full
[ "$(stat -c %s sparse) $(stat -c %s full)" = '1000000 4096' ]
dd if=/dev/zero of=synced bs=64k count=16 conv=fsync 2>/dev/null
dd if=/dev/urandom of=random bs=1M count=4 2>/dev/null
cp random copy
cmp random copy
i=0
while [ $i -lt 300 ]; do echo $i >d/$i; i=$((i + 1)); done
[ "$(find d -type f | wc -l)" = 301 ]
sync
sync -f random
df /w >/dev/null
rm -r d
[ ! -e d ]
rmdir /w/none 2>/dev/null && exit 1
cp /bin/busybox ./true
./true
echo all well
SCRIPT
    args sh /work
    edit '["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_MKNOD"] as $more |
        .process.capabilities |= map_values(. + $more)'
    run bh run --bundle "$BUNDLE" c1
    echo "status $status: $output"
    [ "$status" -eq 0 ]
    [ "$output" = "all well" ]
    cmp "$BUNDLE/rootfs/w/random" "$BUNDLE/rootfs/w/copy"
    [ "$(cat "$BUNDLE/rootfs/w/hard")" = $'one\ntwo' ]
    [ -p "$BUNDLE/rootfs/w/fifo" ]
    [ -c "$BUNDLE/rootfs/w/null" ]
    [ "$(stat -c %s "$BUNDLE/rootfs/w/sparse")" -eq 1000000 ]
}

@test "files belong to the user that makes them, less its umask" {
    chmod 1777 "$BUNDLE/rootfs/tmp"
    mkdir -m 2770 "$BUNDLE/rootfs/group"
    chown 0:555 "$BUNDLE/rootfs/group"
    args sh -c 'umask 027; echo x >/tmp/f; mkdir /tmp/d; echo y >/group/g; cat /secret'
    echo secret >"$BUNDLE/rootfs/secret"
    chmod 600 "$BUNDLE/rootfs/secret"
    edit '.process.user = {uid: 1000, gid: 1001, additionalGids: [555]}'
    run bh run --bundle "$BUNDLE" c1
    echo "status $status: $output"
    [[ $output == *"Permission denied"* ]]
    [ "$(stat -c '%u %g %a' "$BUNDLE/rootfs/tmp/f")" = '1000 1001 640' ]
    [ "$(stat -c '%u %g %a' "$BUNDLE/rootfs/tmp/d")" = '1000 1001 750' ]
    [ "$(stat -c '%u %g %a' "$BUNDLE/rootfs/group/g")" = '1000 555 640' ]
}

@test "a symlink leads nowhere on the host" {
    echo outside >"$WORK/outside"
    ln -s "$WORK/outside" "$BUNDLE/rootfs/absolute"
    ln -s ../../../../../../../../../../.."$WORK/outside" "$BUNDLE/rootfs/relative"
    args sh -c 'cat /absolute; cat /relative; ls /..'
    run bh run --bundle "$BUNDLE" c1
    echo "status $status: $output"
    [[ $output != *outside$'\n'* ]]
    [ "$(grep -c 'No such file' <<<"$output")" -eq 2 ]
    [[ $output == *rootfs* || $output == *bin* ]]
}

@test "bind mounts: a directory, a single file, read-only ones" {
    mkdir "$WORK/rw" "$WORK/ro"
    echo in-dir >"$WORK/rw/f"
    echo in-ro >"$WORK/ro/f"
    echo single >"$WORK/single"
    edit '.mounts += [
        {destination: "/rw", type: "bind", source: "'"$WORK"'/rw", options: ["rbind"]},
        {destination: "/ro", type: "bind", source: "'"$WORK"'/ro", options: ["rbind", "ro"]},
        {destination: "/etc/single", type: "bind", source: "'"$WORK"'/single", options: ["bind"]}]'
    args sh -c 'cat /rw/f /ro/f /etc/single; echo changed >/etc/single; echo new >/rw/new; echo no >/ro/new; mv /rw/new /ro/x'
    run bh run --bundle "$BUNDLE" c1
    echo "status $status: $output"
    [[ $output == *in-dir*in-ro*single* ]]
    [[ $output == *"Read-only file system"* ]]
    [ "$(cat "$WORK/single")" = changed ]
    [ "$(cat "$WORK/rw/new")" = new ]
    [ ! -e "$WORK/ro/new" ]
}
