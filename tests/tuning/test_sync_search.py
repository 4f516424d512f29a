"""Search trials in the mirror: shown as runs of their own, and part of no curve."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

from orchestrator import durable
from orchestrator.record import State, SweepIndex, SweepMember
from orchestrator.results import ResultsDir
from orchestrator.trial import Trial
from orchestrator.tuning.events import TrialEnded
from orchestrator.tuning.mirror import Mirror
from orchestrator.tuning.sync import sync
from tests.tuning.shown import Shown, put_store
from tests.tuning.sweep_files import finish_trial, make_index, make_trial, member_of, name_curves, write_index


def search_member(trial: Trial, proposal: int) -> SweepMember:
    return replace(member_of(trial, depth=2, attention="self"), phase="tune", proposal=proposal)


def searched() -> tuple[SweepIndex, Trial, Trial]:
    """An index with a measured trial and a search trial of the same cell."""
    index = make_index((2,))
    measured, tried = make_trial(2), make_trial(2, seed=10**12, lr=0.01)
    return replace(index, search=(search_member(tried, 3),)), measured, tried


def test_a_search_trial_is_a_run_with_its_phase_and_no_mean_holds_it(results: ResultsDir) -> None:
    index, measured, tried = searched()
    put_store(results)
    write_index(results, index)
    finish_trial(results, measured, 0.5)
    finish_trial(results, tried, 0.9)
    assert sync(results, "s", name_curves).num_trials == 2
    shown = Shown(results)
    tags = {trial_id: run.data.tags for trial_id, run in shown.children.items()}
    assert (tags[tried.trial_id]["phase"], tags[tried.trial_id]["proposal"]) == ("tune", "3")
    assert tags[measured.trial_id]["phase"] == "measure"
    assert "proposal" not in tags[measured.trial_id]
    assert shown.children[tried.trial_id].info.run_name == "search d2-self-w16-p3"
    assert shown.points(shown.parent)["test_acc/self"] == [(2, 0.5)]
    assert shown.parent.data.tags["num_trials"] == "1"
    assert sync(results, "s", name_curves).num_writes == 0


def test_a_mirror_takes_in_trials_that_are_known_later(results: ResultsDir) -> None:
    index, measured, tried = searched()
    before = replace(index, members=(), num_pending=1)
    put_store(results)
    write_index(results, before)
    warned: list[str] = []
    mirror = Mirror(results, name_curves, warned.append, pause_s=0.01)
    mirror.start(before, (), [tried])
    finish_trial(results, tried, 0.9)
    mirror.event(TrialEnded(tried.trial_id, State.COMPLETE))
    mirror.grow(index, (), [measured])
    finish_trial(results, measured, 0.5)
    mirror.event(TrialEnded(measured.trial_id, State.COMPLETE))
    assert mirror.close()
    assert warned == []
    assert set(Shown(results).children) == {measured.trial_id, tried.trial_id}


def test_a_mirror_begins_when_there_is_something_to_train(results: ResultsDir) -> None:
    index, measured, _ = searched()
    put_store(results)
    write_index(results, index)
    mirror = Mirror(results, name_curves, print, pause_s=0.01)
    mirror.start(replace(index, search=()), (), [])
    finish_trial(results, measured, 0.5)
    mirror.grow(index, (), [measured])
    mirror.event(TrialEnded(measured.trial_id, State.COMPLETE))
    assert mirror.close()
    assert set(Shown(results).children) == {measured.trial_id}


def test_an_index_from_before_there_was_a_search_is_read(results: ResultsDir) -> None:
    content = asdict(make_index((2, 4)))
    for name in ("search", "num_pending", "num_search_pending"):
        del content[name]
    for member in content["members"]:
        del member["phase"], member["proposal"]
    durable.write_sealed_json(results.sweep("s").trials_file, json.loads(json.dumps(content)))
    index = results.sweep("s").read_index()
    assert index == make_index((2, 4))
    assert index.all_members == index.members
