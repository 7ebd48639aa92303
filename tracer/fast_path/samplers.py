"""The SDK's own samplers as a function of ids alone, for spans that are not made yet.

Samplers that look at more than the trace id and the parent (name, attributes, links) cannot be asked ahead of the span;
nor can one that somebody derived from these and changed.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from opentelemetry.sdk.trace.sampling import Decision, ParentBased, Sampler, StaticSampler, TraceIdRatioBased
from opentelemetry.trace import SpanContext

# (trace id, the parent's valid context or None) → whether the span is sampled
Decide: TypeAlias = Callable[[int, SpanContext | None], bool]


def decider(sampler: Sampler) -> Decide | None:
    """Return what the sampler decides, exactly; None when that takes more than ids."""
    match getattr(type(sampler), "should_sample", None):
        case StaticSampler.should_sample:
            return _static(sampler)
        case TraceIdRatioBased.should_sample:
            return _ratio(sampler)
        case ParentBased.should_sample:
            return _parent_based(sampler)
    return None


def _static(sampler: Any) -> Decide | None:
    if sampler._decision is Decision.RECORD_ONLY:
        return None
    is_sampled = sampler._decision is Decision.RECORD_AND_SAMPLE
    return lambda trace_id, parent: is_sampled


def _ratio(sampler: Any) -> Decide:
    bound, mask = sampler.bound, sampler.TRACE_ID_LIMIT
    return lambda trace_id, parent: trace_id & mask < bound


def _parent_based(sampler: Any) -> Decide | None:
    root = decider(sampler._root)
    delegates = [
        decider(each)
        for each in (
            sampler._local_parent_not_sampled,
            sampler._local_parent_sampled,
            sampler._remote_parent_not_sampled,
            sampler._remote_parent_sampled,
        )
    ]
    if root is None or None in delegates:
        return None
    decide_root = root

    def decide(trace_id: int, parent: SpanContext | None) -> bool:
        if parent is None:
            return decide_root(trace_id, None)
        delegate = delegates[2 * parent.is_remote + (parent.trace_flags & 1)]
        return delegate(trace_id, parent)  # type: ignore[misc]  # none of them is None

    return decide
