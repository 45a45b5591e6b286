"""Write all answers anew."""

from tests.unit.bad_manifests import write_answers

write_answers()
