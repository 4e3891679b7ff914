"""What a run leaves: the result, and what the settings left open as it was carried out."""

from __future__ import annotations

from typing import Any

from napari_cam_feedback.evaluation.report.provenance import package_versions
from napari_cam_feedback.retuning.automatic import choose_refill
from napari_cam_feedback.retuning.judging.metrics import ValidationMetrics
from napari_cam_feedback.retuning.judging.style_verdict import judge_style
from napari_cam_feedback.retuning.judging.verdict import judge
from napari_cam_feedback.retuning.results import RetuneResult, Status
from napari_cam_feedback.retuning.run import RetuneRun
from napari_cam_feedback.torch_loader import torch


def result_of(run: RetuneRun, status: Status, after: ValidationMetrics) -> RetuneResult:
    before = run.before
    troubles = run.pace.troubles
    if run.learnt.style is None:
        verdict = judge(before, after, held_out=run.held_out is not run.learnt, troubles=troubles)
    else:
        verdict = judge_style(before, after, troubles=troubles)
    run.tuned.module.to(memory_format=torch.contiguous_format)
    run.tuned.__dict__.pop("head", None)
    run.tuned.info = {
        **run.given.info,
        "retune": {
            "config": run.config.model_dump(mode="json"),
            "status": status,
            "iteration": after.iteration,
            "share": after.share,
            "painted": len(run.learnt) + (len(run.held_out) if run.held_out is not run.learnt else 0),
            "verdict": verdict.name,
            "resolved": resolved_settings(run),
        },
    }
    return RetuneResult(
        classifier=run.tuned,
        given=run.given,
        config=run.config,
        resolved=resolved_settings(run),
        status=status,
        verdict=verdict,
        before=before,
        after=after,
        selected_iteration=after.iteration,
        selected_share=after.share,
        painted_keys=run.learnt.keys,
        held_out_keys=run.held_out.keys,
        masks=run.masks,
        style=run.style,
        history=run.history,
        painted_history=run.painted_history,
        skipped=dict(run.cache.skipped),
        checkpoints=tuple(run.front.checkpoints),
        path=tuple(run.path),
        run_state=run.run_state if status == "stopped" else None,
        troubles=tuple(run.pace.troubles),
    )


def resolved_settings(run: RetuneRun) -> dict[str, Any]:
    """What was left open in the settings, as it was carried out."""
    return {
        "method": "+".join(method.name for method in run.methods),
        "learning_rate": run.pace.learning_rate,
        "learning_rate_chosen": run.pace.chosen,
        "strength": dict(run.trainer.strengths) if run.config.strength is None else run.config.strength,
        "distillation": run.teacher is not None,
        "batch_size": run.sampler.batch_size,
        "painted_per_step": run.sampler.painted_per_step,
        "iterations": run.iteration,
        "iterations_at_most": run.schedule.iterations,
        "check_every": run.schedule.check_every,
        "patience": run.schedule.patience,
        "validation_images": len(run.validator.validation),
        "freeze_batch_norm": run.trainer.freeze_batch_norm,
        "target_layer": run.given.target_layer,
        "refill": choose_refill(run.config, surroundings=run.learnt.surroundings),
        "seed": run.config.seed,
        "device": str(run.fabric.device),
        "threads": torch.get_num_threads(),
        "versions": package_versions(),
    }
