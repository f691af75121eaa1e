"""What a plot shows: every number there is, with its unit, on an axis that can be read."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fsb.errors import FsbError
from fsb.storage.curves import compare_curves, curves


@pytest.fixture
def drawn(monkeypatch):
    """The figures saved during a test."""
    from matplotlib.figure import Figure

    figures, save = [], Figure.savefig

    def savefig(figure, *arguments, **keywords):
        figures.append(figure)
        save(figure, *arguments, **keywords)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures


def rows(layers=2, points=100, final=-110.0):
    found = []
    for step in range(100, 100 * points + 1, 100):
        elbo = final - 40 * np.exp(-step / 2000) - 400 * np.exp(-step / 100)
        row = {"step": step, "train_elbo": elbo, "gradient_norm": 3.0, "learning_rate": 1e-3}
        for layer in range(1, layers + 1):
            row |= {f"kl_{layer}": 20.0 / layer, f"active_{layer}": 100 // layer}
        if step % 1000 == 0:
            row |= {"test_elbo": elbo - 2, "valid_elbo": elbo - 1, "gradient_variance": 1e-3}
        found.append(row)
    return found


def titles(figure):
    return [axes.get_title("left") for axes in figure.axes]


def labels(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.slow
def test_a_run_has_four_panels(drawn, tmp_path):
    curves(tmp_path / "curves.png", rows(), "mnist")
    (figure,) = drawn
    assert titles(figure) == ["ELBO", "KL per layer", "Active units per layer", "Gradient"]
    assert figure.get_suptitle() == "mnist"
    assert {axes.get_xlabel() for axes in figure.axes} == {"step"}
    last = [text.get_text() for text in figure.axes[0].texts]
    assert last == [f"\N{MINUS SIGN}{value}" for value in (112.3, 111.3, 110.3)]
    places = [text.get_position()[1] for text in figure.axes[0].texts]
    assert min(np.diff(places)) > 0.054  # none over another
    units = [axes.get_ylabel() for axes in figure.axes]
    assert units == ["nats", "nats", "units", "norm, variance"]
    assert [labels(axes) for axes in figure.axes] == [
        ["train", "valid", "test"],
        ["layer 1", "layer 2"],
        ["layer 1", "layer 2"],
        ["norm", "variance"],
    ]
    assert figure.axes[3].get_yscale() == "log"
    pixels = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert pixels.shape == (1050, 1440)
    assert pixels.std() > 10


@pytest.mark.slow
def test_lines_hold_the_numbers(drawn, tmp_path):
    data = rows()
    curves(tmp_path / "a.png", data)
    line = drawn[0].axes[0].get_lines()[2]
    assert line.get_xdata().tolist() == [row["step"] for row in data if "test_elbo" in row]
    assert line.get_ydata().tolist() == [row["test_elbo"] for row in data if "test_elbo" in row]


@pytest.mark.slow
def test_the_first_rise_does_not_squash_the_curve(drawn, tmp_path):
    curves(tmp_path / "a.png", rows())
    axes = drawn[0].axes[0]
    low, high = axes.get_ylim()
    assert -150 < low < -130
    assert -110 < high < -105
    lowest = min(row["train_elbo"] for row in rows())
    assert axes.get_title("right") == f"lowest value: \N{MINUS SIGN}{-lowest:.4g}, below the axis"


@pytest.mark.slow
def test_an_even_curve_is_shown_whole(drawn, tmp_path):
    even = [{"step": step, "train_elbo": -200.0 + step} for step in range(100)]
    curves(tmp_path / "a.png", even)
    axes = drawn[0].axes[0]
    assert axes.get_ylim()[0] < -200
    assert axes.get_title("right") == ""


@pytest.mark.slow
def test_a_last_value_stands_at_the_height_of_its_line(drawn, tmp_path):
    even = [{"step": i, "train_elbo": -75.0 + i, "test_elbo": -80.0 + 10 * i} for i in range(2)]
    curves(tmp_path / "run.png", even)
    compare_curves(tmp_path / "runs.png", {"a": even, "b": [even[0]]}, "test_elbo")
    for figure in drawn:
        axes = figure.axes[0]
        low, high = axes.get_ylim()
        for line, text in zip(
            sorted(axes.lines, key=lambda line: line.get_ydata()[-1]), axes.texts, strict=True
        ):
            last = line.get_ydata()[-1]
            assert text.get_text().replace("\N{MINUS SIGN}", "-") == f"{last:.4g}"
            np.testing.assert_allclose(text.get_position()[1], (last - low) / (high - low))


def test_only_panels_with_numbers(drawn, tmp_path):
    curves(tmp_path / "a.png", [{"step": 1, "train_elbo": -1.0}, {"step": 2, "train_elbo": -0.5}])
    assert titles(drawn[0]) == ["ELBO"]


@pytest.mark.slow
def test_numbers_that_cannot_be_drawn_are_left_out(drawn, tmp_path):
    data = [
        {"step": 1, "train_elbo": float("nan"), "gradient_norm": 0.0},
        {"step": 2, "train_elbo": -3.0, "gradient_norm": 2.0},
        {"step": 3, "train_elbo": float("-inf"), "gradient_norm": "?"},
        {"train_elbo": -1.0},
        {"step": 4, "train_elbo": -2.0},
    ]
    curves(tmp_path / "a.png", data)
    elbo, gradient = drawn[0].axes
    assert elbo.get_lines()[0].get_ydata().tolist() == [-3.0, -2.0]
    assert gradient.get_lines()[0].get_ydata().tolist() == [2.0]
    for nothing in ([], [{"step": 1}], [{"train_elbo": 1.0}]):
        with pytest.raises(FsbError, match="nothing to plot: no row has a step and a number"):
            curves(tmp_path / "b.png", nothing)


@pytest.mark.slow
def test_many_layers_in_their_order(drawn, tmp_path):
    curves(tmp_path / "a.png", rows(layers=80, points=5))
    axes = drawn[0].axes[1]
    assert len(axes.get_lines()) == 80
    assert labels(axes) == [f"layer {i}" for i in (1, 17, 33, 48, 64, 80)]
    shades = [float(line.get_color()) for line in axes.get_lines()]
    assert shades == sorted(shades)


@pytest.mark.slow
def test_runs_differ_in_more_than_colour(drawn, tmp_path):
    compare_curves(tmp_path / "a.png", {f"run {i}": rows() for i in range(49)}, "test_elbo")
    (axes,) = drawn[0].axes
    grey = {(str(line._unscaled_dash_pattern), line.get_marker()) for line in axes.get_lines()[:7]}
    assert len(grey) == 7
    whole = {(line.get_color(), line.get_marker()) for line in axes.get_lines()}
    assert len(whole) == 49
    assert axes.get_ylabel() == "test ELBO [nats]"


@pytest.mark.slow
def test_seeds_become_a_mean_and_a_band(drawn, tmp_path):
    seeds = [
        [{"step": s, "test_elbo": float(s + shift)} for s in (1, 2, 3)] for shift in (-1, 0, 1)
    ]
    seeds[0] = seeds[0][:2]  # one that did not finish
    compare_curves(tmp_path / "a.png", {"many": seeds, "one": seeds[1]}, "test_elbo", "title")
    (axes,) = drawn[0].axes
    assert axes.get_lines()[0].get_xydata().tolist() == [[1, 1], [2, 2]]
    assert axes.get_lines()[1].get_xydata().tolist() == [[1, 1], [2, 2], [3, 3]]
    (band,) = axes.collections
    assert band.get_datalim(axes.transData).extents.tolist() == [1, 0, 2, 3]
    assert axes.get_title("left") == "band: one standard deviation over seeds"


@pytest.mark.slow
def test_a_log_scale_takes_positive_numbers(drawn, tmp_path):
    run = [{"step": 1, "gradient_variance": 0.0}, {"step": 2, "gradient_variance": 1e-3}]
    compare_curves(tmp_path / "a.png", {"a": run}, "gradient_variance", ylabel="variance", log=True)
    (axes,) = drawn[0].axes
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "variance"
    assert axes.get_lines()[0].get_ydata().tolist() == [1e-3]


def test_a_run_without_the_field_is_named(tmp_path):
    with pytest.raises(FsbError, match='run "b" has no number in test_elbo'):
        compare_curves(tmp_path / "a.png", {"a": rows(), "b": [{"step": 1}]}, "test_elbo")


@pytest.mark.slow
def test_no_state_of_pyplot():
    code = """if True:
        import sys, tempfile
        from fsb.storage import curves, pictures
        assert "matplotlib" not in sys.modules
        curves.curves(tempfile.mkdtemp() + "/a.png", [{"step": 1, "train_elbo": 1.0}])
        assert "matplotlib.pyplot" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
