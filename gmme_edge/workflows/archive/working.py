"""Keeping workers busy with what is left of a scan, and noting what they find."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass, replace
from typing import Any

from gmme_edge.observer import Observer
from gmme_edge.workflows.archive.dividing import conclude, hear_segment
from gmme_edge.workflows.archive.executors import is_lost
from gmme_edge.workflows.archive.findings import absolute
from gmme_edge.workflows.archive.heard import Division, Heard, Job, Segment
from gmme_edge.workflows.archive.hearing import hear, hear_joined
from gmme_edge.workflows.archive.journal import Journal

_TRIES = 2
_NAMED = 10  # recordings whose faults are told at once; a table names them all
_PATIENCE_S = 1.0  # after which what was noted goes to the disk
_WHOLE = -1
Found = Heard | Division | Segment | tuple[Heard, ...]


@dataclass(frozen=True)
class _Task:
    """A recording, joined ones, or a segment of a divided one."""

    paths: tuple[bytes, ...]
    segment: int = _WHOLE
    tries: int = 1


@dataclass
class _Divided:
    division: Division
    missing: int  # segments


class Work:
    """Keeps `at_once` tasks in work until nothing is left.

    A divided recording's segments come before other recordings, so that few are open at once.
    """

    def __init__(
        self,
        executor: Executor,
        at_once: int,
        job: Job,
        labels: Sequence[str],
        journal: Journal,
        observer: Observer,
    ) -> None:
        self._executor, self._at_once, self._job = executor, at_once, job
        self._labels, self._journal, self._observer = labels, journal, observer
        self._left = journal.left()
        self._segments: deque[_Task] = deque()
        self._divided: dict[bytes, _Divided] = {}
        self._working: dict[Future[Any], _Task] = {}
        counts = journal.counts()
        self._done, self._total, self._failed = counts.heard + counts.failed, counts.total, 0

    def run(self) -> None:
        while True:
            while len(self._working) < self._at_once and (task := self._next()) is not None:
                self._submit(task)
            if not self._working:
                return
            self._tell_progress()
            for future in wait(self._working, _PATIENCE_S, FIRST_COMPLETED).done:
                task = self._working.pop(future)
                found = _result(future, task)
                if found is None:
                    self._submit(replace(task, tries=task.tries + 1))
                else:
                    self._take(task, found)
            self._journal.settle()

    def _next(self) -> _Task | None:
        while not self._segments:
            paths = next(self._left, None)
            if paths is None:
                return None
            division = self._journal.division(paths[0]) if len(paths) == 1 else None
            if division is None:
                return _Task(paths)
            self._share(paths[0], division)  # as an earlier call divided it
        return self._segments.popleft()

    def _submit(self, task: _Task) -> None:
        given = tuple(map(absolute, task.paths))
        if task.segment != _WHOLE:
            division = self._divided[task.paths[0]].division
            arguments: tuple[Any, ...] = hear_segment, self._job, given[0], division, task.segment
        elif len(given) == 1:
            arguments = hear, self._job, given[0]
        else:
            arguments = hear_joined, self._job, given
        self._working[self._executor.submit(*arguments)] = task

    def _take(self, task: _Task, found: Found) -> None:
        path = task.paths[0]
        if isinstance(found, Segment):
            self._take_segment(path, task.segment, found)
        elif isinstance(found, Division):
            self._journal.note_division(path, found)
            self._share(path, found)
        else:
            heard = found if isinstance(found, tuple) else (found,) * len(task.paths)
            self._note(dict(zip(task.paths, heard, strict=True)))

    def _share(self, path: bytes, division: Division) -> None:
        """Put the segments in line that are still to be heard."""
        missing = self._journal.missing(path, division)
        self._divided[path] = _Divided(division, len(missing))
        self._segments += [_Task((path,), number) for number in missing]
        if not missing:
            self._conclude(path)

    def _take_segment(self, path: bytes, number: int, found: Segment) -> None:
        divided = self._divided.get(path)
        if divided is None:  # another segment failed meanwhile
            return
        if found.error:
            del self._divided[path]
            self._segments = deque(task for task in self._segments if task.paths[0] != path)
            self._note({path: Heard(error=found.error)})
            return
        self._journal.note_segment(path, number, found)
        divided.missing -= 1
        if not divided.missing:
            self._conclude(path)

    def _conclude(self, path: bytes) -> None:
        division = self._divided.pop(path).division
        probabilities = self._journal.segments(path)
        heard = conclude(division, probabilities, self._labels, self._job.rules)
        self._journal.note_divided(path, heard)
        self._done += 1

    def _note(self, heard: dict[bytes, Heard]) -> None:
        self._journal.note(heard)
        self._done += len(heard)
        for error in (one.error for one in heard.values() if one.error):
            self._failed += 1
            if self._failed <= _NAMED:
                self._observer.note(error)

    def _tell_progress(self) -> None:
        # A bar that counts recordings stands still within a long one; its sound does not.
        heard_s = getattr(self._executor, "heard_s", 0.0)
        told = f", {heard_s / 3600:.2f} h heard" if heard_s else ""
        if self._divided and len(self._divided) == self._total - self._done:  # only these are left
            total = sum(divided.division.n_segments for divided in self._divided.values())
            missing = sum(divided.missing for divided in self._divided.values())
            self._observer.progress(f"segments{told}", total - missing, total)
        else:
            self._observer.progress(f"recordings{told}", self._done, self._total)


def _result(future: Future[Any], task: _Task) -> Found | None:
    """What was heard; None where the worker died and its task deserves another."""
    try:
        found: Found = future.result()
    except Exception as error:
        if not is_lost(error):
            raise
        if task.tries < _TRIES:
            return None
        reason = f"its worker was killed {task.tries} times; the memory may be too small"
        return Heard(error=reason) if task.segment == _WHOLE else Segment(error=reason)
    return found
