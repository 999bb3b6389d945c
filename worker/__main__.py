"""One run of the worker: `python3 -m worker ID`, as the unit starts it; or `look WHAT`, which only reads and answers in JSON."""

from __future__ import annotations

import json
import signal
import sys
import traceback
from typing import NoReturn

from worker import backup, containers, finish, leftovers, look, restore, settling, swap, verify
from worker.contract import FAILED, INTERRUPTED, RESTORE_FAILED, STEPS, USAGE, VERIFY_FAILED, Request
from worker.errors import Failed
from worker.job import DEPLOY, Job

DOES = {
    "backup": (backup.run, FAILED),
    "restore": (restore.run, RESTORE_FAILED),
    "undo": (swap.undo, RESTORE_FAILED),
    "cleanup": (leftovers.cleanup, RESTORE_FAILED),
    "verify": (verify.run, VERIFY_FAILED),
    # Every run first settles what interrupted runs left; this run does nothing else, and fails if something remains.
    "settle": (settling.must_be_settled, RESTORE_FAILED),
}
"""The runs that can be requested, and the exit code of a fault in each."""


def main(argv: list[str]) -> int:
    if argv[:1] == ["look"]:
        return _look(argv[1])
    run = argv[0]
    try:
        job = Job.load(run, [step for steps in STEPS.values() for step in steps])
    except Failed as error:
        finish.refused(run, error)
        return error.code
    signal.signal(signal.SIGTERM, lambda *_: _stopped(run))
    do, faulty = DOES[job.request.do]
    failure: Failed | None = None
    try:
        # A check must work without PostgreSQL, and changes nothing live.
        if job.request.do != "verify":
            settling.recover(job)
        code = do(job)
    except Failed as error:
        code, failure = error.code, error
    except KeyboardInterrupt:
        code, failure = INTERRUPTED, Failed(INTERRUPTED, "stopped, as somebody asked")
    except Exception as error:
        code, failure = faulty, _fault(faulty, error)
    finally:
        containers.remove(run)
        job.clear()
        job.forget()
    finish.write_result(job, code, failure)
    return code


def _look(text: str) -> int:
    request = Request()
    try:
        request = _asked(text)
        if request.ask == "stream":
            look.stream(request)
        else:
            print(json.dumps(look.answer(request), default=str))
    except Exception as error:
        failed = error if isinstance(error, Failed) else _fault(FAILED, error)
        if request.ask == "stream":
            print(failed, file=sys.stderr)
            return failed.code
        print(
            json.dumps({"failed": {"code": failed.code, "what": failed.what, "why": failed.why, "hint": failed.hint}})
        )
    return 0


def _fault(code: int, error: Exception) -> Failed:
    """The error for what the worker did not expect."""
    traceback.print_exc()
    return Failed(code, "a fault of the worker itself", f"{type(error).__name__}: {error}", "inv status")


def _asked(text: str) -> Request:
    try:
        return Request.parse(text)
    except ValueError as error:
        raise Failed(USAGE, "the question is of another Stowage than the worker", str(error), DEPLOY) from None


def _stopped(run: str) -> NoReturn:
    """Ends the tools first: a thread that waits for one of them would wait for its end."""
    containers.remove(run)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
