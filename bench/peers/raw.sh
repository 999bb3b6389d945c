# What a person would write to read the state of a host once: one process a tool, in one `ssh host sh`.
# bench/noop.py puts the names in front: $packages, $units, $files, $directories, ...
. /etc/os-release
echo "$ID $VERSION_ID"
dpkg-query -W -f '${Package} ${db:Status-Status}\n' $packages
systemctl show -p Id,LoadState,UnitFileState,ActiveState,NeedDaemonReload,ActiveEnterTimestamp $units
stat -c '%F %a %U %G %Z %n' $files $directories
sha256sum $files
cat $read /etc/fstab /proc/self/mountinfo /var/lib/stowage/applied /var/lib/stowage/drives/*
getent group $user
getent passwd $user
lsblk -Pno NAME,MAJ:MIN,TYPE,SIZE,SERIAL,FSTYPE,LABEL,PTTYPE,MOUNTPOINT
unshare -m sh -c "umount -l $mounts; lsattr -d $mounts; ls -A $mounts"
ip -4 -o route show
out=$(docker inspect $objects)
printf '%s\n' "$out"
places=
for pid in $(printf '%s\n' "$out" | sed -n 's/.*"Pid": \([0-9]*\),.*/\1/p'); do
    for bound in $bound; do places="$places /proc/$pid/root$bound"; done
done
stat -L -c '%d:%i %n' $places 2>/dev/null
curl -q -s -k --noproxy '*' --parallel -m 4 -w '%{http_code} %{url}\n' $(printf -- '-o /dev/null %s ' $urls)
