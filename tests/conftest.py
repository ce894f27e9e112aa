"""Settings that every test shares; fixtures live beside the tests that use them."""

import pytest
from hypothesis import settings

# The tests of each adapter import the contract suites, whose asserts must explain themselves too.
pytest.register_assert_rewrite("tests.contracts")

# A busy machine is not a defect, so no example has a deadline; a failure prints how to repeat it.
# A commit passes or fails for its own sake: examples are the same in each run. The nightly ones are
# new each time and look for what nobody has thought of.
settings.register_profile("default", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("nightly", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile("default")
