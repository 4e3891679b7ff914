"""Settings of a concept test."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

#: Images of a concept, without which its direction is noise; and from how many on it is worth something.
MIN_IMAGES = 10
GOOD_IMAGES = 30
Pooling = Literal["auto", "none", "mean"]


class ConceptTestConfig(BaseModel):
    """Settings of a concept test."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    runs: int = Field(20, ge=3, le=1000, title="Random sets", description="Random sets that each concept is told from.")
    random_runs: int = Field(
        100, ge=3, le=5000, title="Random concepts", description="Pairs of random sets that concepts are compared with."
    )
    set_size: int | None = Field(
        None,
        ge=MIN_IMAGES,
        title="Images a set",
        description="By default up to 50, as the fewest images of a concept allow.",
    )
    images: int = Field(200, ge=MIN_IMAGES, title="Most images", description="Of each concept and class; drawn at random.")
    random_images: int = Field(600, ge=2 * MIN_IMAGES, title="Most random images", description="Drawn at random.")
    alpha: float = Field(0.05, gt=0, lt=1, title="Level", description="Corrected p below which a concept is significant.")
    correction: Literal["bonferroni", "benjamini-hochberg"] = Field(
        "bonferroni", title="Correction", description="Of p for the number of concepts, classes and layers that are tested."
    )
    strict: bool = Field(
        True,
        title="Strict",
        description="A concept must also be unusual among random concepts; without it, the test is that of Kim et al. 2018.",
    )
    pooling: Pooling = Field(
        "auto",
        title="Pooling",
        description="none: every place counts; mean: over places; auto: only where memory asks for it.",
    )
    inverse_penalty: float = Field(
        1.0, gt=0, title="C", description="Of the logistic classifiers, for activations at a distance of 1 from their mean."
    )
    seed: int = Field(0, ge=0, title="Seed", description="Of everything that is drawn.")
