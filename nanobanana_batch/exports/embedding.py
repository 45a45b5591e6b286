"""Copies of pictures get what is known of their row written into them; the run's own files stay as they came.

So a folder keeps what a provider has sent, byte for byte: what was paid for can be proved, signatures hold,
equal pictures are found to be equal, and what is fetched again is the same file.
"""

from __future__ import annotations

from collections.abc import Callable

from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.tally import Tally
from nanobanana_batch.provenance.embed import NotEmbedded, embedded
from nanobanana_batch.provenance.record import record_of

Change = Callable[[bytes, Sample], bytes]
"""What becomes of a picture's bytes on their way into an export."""


def as_it_is(data: bytes, sample: Sample) -> bytes:
    """Nothing."""
    return data


def change_of(options: Options, tally: Tally) -> Change:
    """What these options ask for; files that have no place for it are counted, and come along as they are."""
    if not options.embed_metadata:
        return as_it_is

    def change(data: bytes, sample: Sample) -> bytes:
        record = record_of(sample.entry, sample.picture.number)
        try:
            return embedded(data, record, also_signed=options.embed_in_signed)
        except NotEmbedded as left:
            tally.not_embedded[left.why.value] += 1
            return data

    return change
