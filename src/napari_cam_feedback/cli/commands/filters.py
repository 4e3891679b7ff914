"""``filters``: what the filters of the target layer do over a whole split, as tables and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_cam_feedback.cli.app import out
from napari_cam_feedback.cli.opening import ModelAndData, open_masks, open_model_and_data
from napari_cam_feedback.cli.options import Data, Device, Json, Masks, Model, Seed, takes_model_options
from napari_cam_feedback.cli.show import Bar, progress, remark, show_skipped, show_table, write_json
from napari_cam_feedback.errors import ConfigError, DataError
from napari_cam_feedback.monitor import Part

if TYPE_CHECKING:
    from napari_cam_feedback.explanations import FilterMarks
    from napari_cam_feedback.explanations.filters.statistics import MaskActivation
    from napari_cam_feedback.explanations.filters.survey import FilterSurvey
    from napari_cam_feedback.models import Classifier
    from napari_cam_feedback.models.options import ModelOptions

#: Masks that come with the data, by which filters are measured, at most.
MAX_KNOWN_MASKS = 200
_SHOWN = 8


@takes_model_options()
def filters(
    model: Model,
    data: Data,
    options: ModelOptions,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder to write to.", show_default=False)],
    split: Annotated[str, typer.Option(help="Whose images.")] = "train",
    validation: Annotated[str, typer.Option(help="The split on which the accuracy curve is tried.")] = "val",
    number: Annotated[
        list[int] | None,
        typer.Option("--filter", min=0, help="Draw this filter's gallery; repeatable.", show_default="the first by ranking"),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Without --filter: draw so many galleries.")] = 6,
    masks: Masks = None,
    before: Annotated[
        str | None,
        typer.Option(help="An earlier version of the model: also write which filters changed.", show_default=False),
    ] = None,
    project: Annotated[
        Path | None, typer.Option(help="Project folder: compare its marks of filters with the ranking.", show_default=False)
    ] = None,
    embedding: Annotated[str, typer.Option(help="Map of the images: pca, tsne, umap or none.")] = "pca",
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps what was computed, for the next time.", show_default=False)
    ] = None,
    seed: Seed = 0,
    device: Device = "auto",
    json_file: Json = None,
) -> None:
    """Write what the filters do over a split: activations, ranking, accuracy curve, galleries, map of the images."""
    from napari_cam_feedback.explanations.filters.statistics import check_filter
    from napari_cam_feedback.explanations.filters.survey import survey_filters

    _check_embedding(embedding)
    opened = open_model_and_data(model, data, options, device=device, seed=seed)
    classifier, dataset = opened.classifier, opened.dataset
    for each in number or ():
        check_filter(each, classifier.layout.filters)
    earlier = None if before is None else open_model_and_data(before, data, options, device=device, seed=seed).classifier
    marks = None if project is None else _marks(project, classifier)
    with progress("looking at the images", opened.assumed) as bar:
        survey = survey_filters(classifier, dataset, split, validation=validation, cache=cache, seed=seed, monitor=bar)
        under = _under_masks(opened, masks, split, seed, bar)
        shown = list(dict.fromkeys(number)) if number else survey.best[:top].tolist()
        result = _SurveyFiles(opened, survey, under, marks, out_dir)
        written = result.write_tables(shown)
        written += result.draw_galleries(shown, seed, bar)
        if embedding != "none":
            bar.progress(0, 0, "Placing the images")
            written += result.write_embedding(embedding, seed)
        if earlier is not None:
            written += result.write_changes(earlier, split, cache, shown, bar)
    for note in survey.notes:
        remark(note)
    show_skipped({**survey.features.skipped, **(survey.validation.skipped if survey.validation else {})})
    result.show()
    out.print(f"{len(written)} files in {out_dir}.", markup=False, highlight=False)
    write_json(json_file, {**result.to_json(), "galleries": shown, "out": str(out_dir), "files": written})


def _check_embedding(name: str) -> None:
    from napari_cam_feedback.explanations import EMBEDDING_METHODS, umap_installed

    if name not in (*EMBEDDING_METHODS, "none"):
        raise ConfigError(f"There is no embedding {name!r}; choose pca, tsne, umap or none.")
    if name == "umap" and not umap_installed():
        raise ConfigError("UMAP is not installed; install it with pip install umap-learn, or choose pca or tsne.")


def _marks(project: Path, classifier: Classifier) -> FilterMarks:
    from napari_cam_feedback.explanations import load_marks

    if not project.is_dir():
        raise DataError(f"There is no folder {project}; name the project's folder.")
    return load_marks(project, classifier)


def _under_masks(opened: ModelAndData, folder: Path | None, split: str, seed: int, bar: Bar) -> MaskActivation | None:
    from napari_cam_feedback.errors import MaskError
    from napari_cam_feedback.explanations import activation_under_masks
    from napari_cam_feedback.feedback import known_masks

    store: Any = open_masks(folder, opened.dataset)
    if store is None:
        if not opened.dataset.has_known_masks or opened.classifier.no_places():
            return None
        try:
            store = known_masks(opened.dataset, MAX_KNOWN_MASKS, split=split, seed=seed)
        except MaskError:
            return None  # those are of other splits
    return activation_under_masks(opened.classifier, opened.dataset, store, monitor=Part(bar, "Looking under the masks"))


@dataclass
class _SurveyFiles:
    """What was found, and writing it into a folder; each method returns the names of the files."""

    opened: ModelAndData
    survey: FilterSurvey
    under: MaskActivation | None
    marks: FilterMarks | None
    folder: Path
    changed: dict[str, list[int]] | None = None

    def write_tables(self, shown: list[int]) -> list[str]:
        from napari_cam_feedback.explanations.filters import plots as filter_plots
        from napari_cam_feedback.explanations.filters.survey import save_contributions, save_histograms, save_overview

        survey, names = self.survey, self.opened.classifier.class_names
        survey.features.save_npz(self.folder / "features.npz")
        save_overview(survey, self.folder / "filters.csv", under=self.under, marks=self.marks)
        save_histograms(survey.features, shown, self.folder / "histograms.csv")
        written = ["features.npz", "filters.csv", "histograms.csv"]
        if survey.contributions is not None:
            save_contributions(survey.contributions, names, self.folder / "contributions.csv")
            written.append("contributions.csv")
        if survey.ranking is not None:
            survey.ranking.save_csv(self.folder / "ranking.csv")
            written.append("ranking.csv")
        if survey.curve is not None:
            survey.curve.save_csv(self.folder / "accuracy_curve.csv")
            filter_plots.save_curve(survey.curve, self.folder / "accuracy_curve.png")
            written += ["accuracy_curve.csv", "accuracy_curve.png"]
        return written

    def draw_galleries(self, shown: list[int], seed: int, bar: Bar) -> list[str]:
        from napari_cam_feedback.explanations import class_histograms, contact_sheet, gallery
        from napari_cam_feedback.explanations.filters.plots import save_class_histograms

        written = []
        features, classifier = self.survey.features, self.opened.classifier
        for place, number in enumerate(shown):
            bar.progress(place, len(shown), "Drawing galleries")
            name, histogram = f"gallery_{number:04d}.png", f"histogram_{number:04d}.png"
            found = gallery(classifier, self.opened.dataset, features, number, seed=seed)
            contact_sheet(found).save_png(self.folder / name)
            save_class_histograms(
                class_histograms(features, number), number, classifier.class_names, self.folder / histogram
            )
            written += [name, histogram]
        return written

    def write_embedding(self, method: Any, seed: int) -> list[str]:
        from napari_cam_feedback.explanations import embed
        from napari_cam_feedback.explanations.filters.plots import save_embedding

        names = self.opened.classifier.class_names
        placed = embed(self.survey.features, method, seed=seed)
        placed.save_csv(self.folder / "embedding.csv", names)
        save_embedding(placed, names, self.folder / "embedding.png")
        return ["embedding.csv", "embedding.png"]

    def write_changes(self, earlier: Classifier, split: str, cache: Path | None, shown: list[int], bar: Bar) -> list[str]:
        from napari_cam_feedback.explanations import change_histograms, features_of, filter_changes
        from napari_cam_feedback.explanations.filters.plots import save_change_histograms

        one = features_of(
            earlier, self.opened.dataset, split, cache=cache, monitor=Part(bar, "Looking with the earlier version")
        )
        changes = filter_changes(one, self.survey.features)
        changes.save_csv(self.folder / "changes.csv")
        written = ["changes.csv"]
        for number in shown:
            name = f"change_{number:04d}.png"
            save_change_histograms(change_histograms(one, self.survey.features, number), number, self.folder / name)
            written.append(name)
        self.changed = {
            "most": changes.order[:_SHOWN].tolist(),
            "died": changes.died.nonzero()[0].tolist(),
            "born": changes.born.nonzero()[0].tolist(),
        }
        return written

    def show(self) -> None:
        """Print the first filters and what the curve, the marks and the earlier version say."""
        survey = self.survey
        activation, contribution = survey.activation, survey.contribution()
        place = None if survey.ranking is None else survey.ranking.place
        rows = [
            [
                str(number),
                "" if place is None else str(place[number]),
                f"{activation[number]:.3g}",
                "" if contribution is None else f"{contribution[number]:+.3g}",
                "" if self.under is None else f"{self.under.excess[number]:+.2f}",
                "" if self.marks is None else self.marks.marks.get(number, ""),
            ]
            for number in survey.best[:_SHOWN].tolist()
        ]
        columns = ["filter", "place", "activation", "contribution", "under masks", "mark"]
        show_table(f"The first of {survey.features.filters} filters of {survey.features.layer}", columns, rows, numbers=5)
        said = [f"Dead (silent in every image): {_listed(survey.dead.nonzero()[0].tolist())}."]
        if self.under is not None:
            said.append(
                f"Looking most at what is masked ({self.under.images} images): "
                f"{_listed(self.under.order[:_SHOWN].tolist(), more=False)}."
            )
        if survey.curve is not None:
            said.append(survey.curve.sentence)
        if self.changed is not None:
            said.append(
                f"Changed most: {_listed(self.changed['most'], more=False)}. Died: {_listed(self.changed['died'])}. "
                f"Came alive: {_listed(self.changed['born'])}."
            )
        found = self.agreement()
        if found is not None:
            said.append(
                f"Of the best {found['top']} filters that you marked, {_share(found['precision'])} are relevant; "
                f"of those you marked relevant, {_share(found['recall'])} are among the best."
            )
        for sentence in said:
            out.print(sentence, markup=False, highlight=False)

    def agreement(self) -> dict[str, Any] | None:
        """Return how the marks agree with the first filters of the ranking, up to the curve's cut or else a half."""
        from napari_cam_feedback.explanations import agreement

        survey = self.survey
        if self.marks is None or not self.marks.marks or survey.ranking is None:
            return None
        cut = None if survey.curve is None else survey.curve.cut
        found = agreement(self.marks, survey.ranking.order, cut or max(1, survey.features.filters // 2))
        return {"top": found.top, "precision": found.precision, "recall": found.recall, "f1": found.f1}

    def to_json(self) -> dict[str, Any]:
        """Return all that fits JSON."""
        survey, features = self.survey, self.survey.features
        curve = survey.curve
        return {
            "n": len(features),
            "filters": features.filters,
            "layer": features.layer,
            "split": features.split,
            "accuracy": features.accuracy,
            "order": survey.best.tolist(),
            "ranked": survey.ranking is not None,
            "dead": survey.dead.nonzero()[0].tolist(),
            "curve": None
            if curve is None
            else {"full": curve.full, "standard_error": curve.standard_error, "cut": curve.cut, "images": curve.images},
            "under_masks": None if self.under is None else [float(value) for value in self.under.excess],
            "agreement": self.agreement(),
            "changes": self.changed,
            "notes": list(survey.notes),
            "skipped": {**features.skipped, **(survey.validation.skipped if survey.validation else {})},
        }


def _listed(numbers: list[int], *, more: bool = True) -> str:
    if not numbers:
        return "none"
    text = ", ".join(str(number) for number in numbers[:_SHOWN])
    return f"{text} and {len(numbers) - _SHOWN} more" if more and len(numbers) > _SHOWN else text


def _share(value: float | None) -> str:
    return "none" if value is None else f"{value:.0%}"
