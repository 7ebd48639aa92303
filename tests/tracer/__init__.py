"""Tests of the tracer. The sentences and what they compare are no test modules, yet say what an assertion saw."""

import pytest

pytest.register_assert_rewrite("tests.tracer.contract", "tests.tracer.spans", "tests.tracer.traced")
