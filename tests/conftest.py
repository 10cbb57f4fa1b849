"""How hard hypothesis tries: HYPOTHESIS_PROFILE=dev (default), ci or deep.

dev and ci draw the same examples on every run; deep draws new ones each time.
"""

import os

from hypothesis import HealthCheck, settings

# A busy machine is not a property of the code: no deadline, and slow drawing is no failure.
PATIENT = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}

settings.register_profile("dev", max_examples=25, derandomize=True, **PATIENT)
settings.register_profile("ci", max_examples=60, derandomize=True, **PATIENT)
settings.register_profile("deep", max_examples=1000, **PATIENT)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
