"""Long or dangerous commands, run as a named unit of the host's systemd: they outlive the line to the operator."""

from __future__ import annotations

from converge.shell import quote

PREFIX = "stowage-run-"

# The unit's file exists as long as it runs or has failed, so a glob finds it without starting a process.
WAIT_FOR_OTHERS = f"""
for unit in /run/systemd/transient/{PREFIX}*.service; do
  [ -e "$unit" ] || continue
  unit=${{unit##*/}}; waited=0
  while case $(systemctl show -p ActiveState --value -- "$unit") in active|*ing) ;; *) false ;; esac; do
    [ $((waited % 10)) != 0 ] || say "$unit, which an earlier run began"
    waited=$((waited + 1)); sleep 1
  done
  systemctl reset-failed "$unit" 2>/dev/null || :
done </dev/null
"""
"""Shell that waits until the commands of earlier runs have ended; its function `say`, which the caller defines, reports for what."""


def as_unit(name: str, command: str) -> str:
    """Run `command` (shell, no secrets: it stands in a file) to its end, with the last line of its output now and then.

    Fails as the command fails, after its last lines.
    """
    unit, log, script = PREFIX + name, f"/run/{PREFIX}{name}.log", f"/run/{PREFIX}{name}.sh"
    # From a file: systemd would fill in every `$name` of an argument.
    return f"""
printf %s {quote(command)} >{script}
systemctl reset-failed {quote(unit)} 2>/dev/null || true
systemd-run -q --unit={quote(unit)} -p StandardOutput=truncate:{log} -p StandardError=truncate:{log} \
  -p TimeoutStartSec=infinity -- /bin/sh {script} </dev/null
waited=0
while systemctl is-active -q {quote(unit)}; do
  sleep 0.2; waited=$((waited + 1))
  [ $((waited % 40)) != 0 ] || tail -n 1 {log}
done
if systemctl is-failed -q {quote(unit)}; then
  tail -n 12 {log}; systemctl reset-failed {quote(unit)}; exit 1
fi
rm -f {log} {script}
"""
