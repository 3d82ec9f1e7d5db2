from pathlib import Path

import pytest

from gmme_edge.data.dataset import Split
from gmme_edge.data.speech_commands import load_speech_commands
from gmme_edge.errors import DatasetError
from tests.data.trees import write_clip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for seed, name in enumerate(("yes/a", "yes/b", "yes/c", "no/a", "no/b", "no/c")):
        write_clip(tmp_path / f"{name}_nohash_0.wav", seed)
    write_clip(tmp_path / "_background_noise_" / "tap.wav")
    write_clip(tmp_path / ".cache" / "x.wav")
    (tmp_path / "_background_noise_" / "README.md").write_text("noise")
    (tmp_path / "README.md").write_text("read me")
    (tmp_path / "validation_list.txt").write_text("yes/b_nohash_0.wav\nno/b_nohash_0.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/c_nohash_0.wav\r\n\r\nyes/c_nohash_0.wav")
    return tmp_path


def test_lists_divide_and_the_rest_trains(root: Path) -> None:
    dataset = load_speech_commands(root)
    assert dataset.labels == ("no", "yes")
    divided: tuple[tuple[Split, str], ...] = (("train", "a"), ("validation", "b"), ("test", "c"))
    for split, letter in divided:
        found = [(clip.path.parent.name, clip.path.stem[0]) for clip in dataset.select(split)]
        assert found == [("no", letter), ("yes", letter)]
    assert {clip.label for clip in dataset.clips if clip.path.parent.name == "yes"} == {1}


def test_entries_without_a_file_are_named(root: Path) -> None:
    names = "".join(f"yes/gone{i}.wav\n" for i in range(5))
    (root / "testing_list.txt").write_text(names)
    with pytest.raises(DatasetError, match=r"5 files .*gone0.wav, yes/gone1.wav, yes/gone2.wav, …"):
        load_speech_commands(root)


def test_background_noise_is_no_entry(root: Path) -> None:
    (root / "testing_list.txt").write_text("_background_noise_/tap.wav\n")
    with pytest.raises(DatasetError, match=r"_background_noise_/tap.wav"):
        load_speech_commands(root)


def test_entry_in_both_lists_is_refused(root: Path) -> None:
    (root / "testing_list.txt").write_text("yes/b_nohash_0.wav\n")
    with pytest.raises(DatasetError, match=r"yes/b_nohash_0.wav is in both"):
        load_speech_commands(root)


@pytest.mark.parametrize("name", ["validation_list.txt", "testing_list.txt"])
def test_missing_or_unreadable_list(root: Path, name: str) -> None:
    (root / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=f"{name} cannot be read"):
        load_speech_commands(root)
    (root / name).unlink()
    with pytest.raises(DatasetError, match=f"{name} does not exist"):
        load_speech_commands(root)


def test_word_without_recordings(root: Path) -> None:
    (root / "stop").mkdir()
    (root / "stop" / "notes.txt").write_text("none yet")
    with pytest.raises(DatasetError, match="stop holds no recordings"):
        load_speech_commands(root)
