"""Through which tensors of a forward pass everything passes that the logits know of the image."""

from __future__ import annotations

from collections import Counter
from typing import Any

from napari_cam_feedback.torch_loader import torch

#: An output of an operation in autograd's graph: the operation, and which of its outputs.
Edge = tuple[Any, int]


def edge_of(tensor: torch.Tensor) -> Edge | None:
    """Return where a tensor comes from in the graph; None of one that no gradient reaches."""
    if tensor.grad_fn is not None:
        return tensor.grad_fn, tensor.output_nr
    return (_leaf(tensor), 0) if tensor.requires_grad else None


def find_cuts(logits: torch.Tensor, image: torch.Tensor) -> set[Edge] | None:
    """Return the tensors without which the logits would know nothing of the image: the graph's single points of passage.

    A tensor is one if all paths from the logits to the image run through it. Nothing is computed: only the graph that the
    forward pass left is walked, from the logits down in topological order. Where a single tensor is open (named by what
    was visited, and not visited yet), no path goes round it. So it works on the ``meta`` device, too.

    Parameters
    ----------
    logits : Tensor
        Of a forward pass with gradients.
    image : Tensor
        A leaf that requires gradients.

    Returns
    -------
    set of (operation, int) or None
        As `edge_of` gives them; None where the graph does not lead from the logits to the image (part of the network ran
        without gradients), so that it tells nothing.
    """
    start = edge_of(logits)
    if start is None:
        return None
    nexts = _walk(start[0])
    sink = _leaf(image)
    if sink not in nexts:
        return None
    leading = _leading_to(sink, nexts)
    waiting = Counter(node for source in leading for node, _ in nexts[source] if node in leading)
    open_edges: dict[Any, set[int]] = {start[0]: {start[1]}}
    ready, cuts = [start[0]], set[Edge]()
    while ready:
        node = ready.pop()
        if len(open_edges) == 1 and len(open_edges[node]) == 1:
            cuts.add((node, next(iter(open_edges[node]))))
        del open_edges[node]
        for edge in nexts[node]:
            below, number = edge
            if below in leading:
                open_edges.setdefault(below, set()).add(number)
                waiting[below] -= 1
                if not waiting[below]:
                    ready.append(below)
    return cuts


def _leaf(tensor: torch.Tensor) -> Any:
    """Return the operation that stands for a leaf in the graph."""
    with torch.enable_grad():
        return tensor.view_as(tensor).grad_fn.next_functions[0][0]  # type: ignore[union-attr]


def _walk(start: Any) -> dict[Any, list[Edge]]:
    """Return all operations that the graph leads to, and where each leads; held here, so that each stays one object."""
    found: dict[Any, list[Edge]] = {}
    left = [start]
    while left:
        node = left.pop()
        if node not in found:
            found[node] = [(below, number) for below, number in node.next_functions if below is not None]
            left += [below for below, _ in found[node]]
    return found


def _leading_to(sink: Any, nexts: dict[Any, list[Edge]]) -> set[Any]:
    above: dict[Any, list[Any]] = {}
    for node, edges in nexts.items():
        for below, _ in edges:
            above.setdefault(below, []).append(node)
    leading, left = {sink}, [sink]
    while left:
        for node in above.get(left.pop(), ()):
            if node not in leading:
                leading.add(node)
                left.append(node)
    return leading
