"""`webdataset` and `datasets`: tar files with a picture, its caption and its facts for each sample."""

from __future__ import annotations

from nanobanana_batch.errors import UsageError
from nanobanana_batch.exports.ahead import ahead
from nanobanana_batch.exports.caption import Caption
from nanobanana_batch.exports.format import Layout, Looked, Takes
from nanobanana_batch.exports.options import Options
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.recode import Recoding
from nanobanana_batch.exports.sample import Sample, ending_of
from nanobanana_batch.exports.samples import Samples, read_picture
from nanobanana_batch.exports.tar_shards import Shards, as_json, teller_of


class WebDataset:
    """`KEY.jpg`, `KEY.json` and `KEY.txt` of each sample, in `train-000000.tar` and so on."""

    takes = Takes.PICTURES
    is_file = False
    uses = frozenset({"split", "max_bytes", "convert", "caption", "embed_metadata"})

    def check(self, options: Options) -> None:
        """Any go together."""

    def look(self, samples: Samples, options: Options) -> Looked:
        """Samples of one data set have the same keys: their pictures are of one kind."""
        Caption(options.caption, samples.columns)
        endings = sorted(map(ending_of, samples.media_types)) if options.convert is None else []
        if len(endings) > 1:
            raise UsageError(
                f"There are {' and '.join(endings)} images; all samples of a WebDataset have the same keys.",
                hint="Add --convert jpg, --convert png or --convert webp.",
            )
        return Looked()

    def write(self, samples: Samples, place: Place, options: Options) -> Layout:
        """Part by part, so that one shard is open at a time."""
        recoding = Recoding(options.convert, options.quality) if options.convert else None
        caption, teller = Caption(options.caption, samples.columns), teller_of(samples.columns)

        def read(sample: Sample) -> tuple[bytes, str]:
            data = read_picture(sample.picture)
            if recoding is None:
                return data, sample.ending
            found = recoding.of(data)
            return found.data, found.encoding.value

        for split in samples.splits:
            with Shards(place, split, options.max_bytes) as shards:
                for sample, prepared in ahead(samples.of(split), read):
                    with samples.written(sample):
                        data, ending = prepared()
                        files = {
                            ending: samples.change(data, sample),
                            "json": as_json(sample, teller),
                            "txt": caption.of(sample).encode(),
                        }
                        shards.add(sample.key, files)
        return Layout(
            data_files={split: f"{split}-*.tar" for split in samples.splits},
            load=(
                "from datasets import load_dataset",
                'dataset = load_dataset("webdataset", data_dir="PATH")',
            ),
        )
