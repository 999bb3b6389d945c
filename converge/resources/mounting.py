"""The shell that mounts a drive, also one that was pulled and put back."""

from __future__ import annotations

from converge.shell import sh


def mounting(path: str, label: str, fstype: str) -> str:
    """Shell that mounts it. After a drive was pulled and put back, its dead mount is first removed from every process that has it.

    The dead mount serves no more, and XFS does not mount a filesystem twice. A process that has only the folder with the
    name of the label bound is a container that uses the drive: it is ended. In a process that sees all of the host, such as
    a monitor in a container, the dead mount is unmounted. Processes that have the drive as it is now are left alone.
    """
    fields = (
        'for (i = 7; i < NF && $i != "-"; i++); whole = $4 == "/" && substr($5, length($5) - length(path) + 1) == path'
    )
    dead = f"{{ {fields}; if ((whole || $4 == root) && $3 != now && $(i + 1) == fstype) print $3, $4, $5 }}"
    table = sh('awk -v root={} -v path={} -v fstype={} -v now="$now" {}', f"/{label}", path, fstype, dead)
    maybe = sh("grep -lF -e {} -e {} /proc/[0-9]*/mountinfo", f" /{label} ", f"{path} ")
    return f"""stale() {{ # of each process: its number, what of the filesystem it has, and where
now=$(mountpoint -x "$({sh("findfs LABEL={}", label)})") || return 0
{maybe} 2>/dev/null | while read -r file; do
pid=${{file#/proc/}}; pid=${{pid%/*}}
{table} "$file" 2>/dev/null | while read -r device what where; do
grep -q " $device " /proc/self/mountinfo || echo "$pid $what $where"
done; done
}}
let_go() {{
stale | while read -r pid what where; do
if [ "$what" != / ]; then
echo "ending $(cat "/proc/$pid/comm"), which holds the drive as it was before it was pulled"; kill -$1 "$pid" || :
elif grep -qsF " / $where " "/proc/$pid/mountinfo"; then umount -N "$pid" -- "$where" || :; fi
done
}}
mounts() {{ message=$({sh("mount -- {}", path)} 2>&1); }}
mounts || {{
status=$?
if [ -n "$(stale)" ]; then
for signal in TERM KILL; do
let_go $signal
for second in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do if mounts; then status=0; break 2; fi; sleep 1; done
done; fi
[ $status = 0 ] || {{ printf '%s\\n' "$message"; exit $status; }}
}}
"""
