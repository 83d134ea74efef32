"""python -m captioner.calibrate: fits a run's confidence on images that training didn't see."""

import argparse
from dataclasses import replace
from pathlib import Path

from captioner import commandline
from captioner.errors import CaptionerError


def main(arguments: argparse.Namespace) -> int:
    """Fits, prints how well that holds on other images, and writes `calibration.json`."""
    if not (arguments.run / "config.json").is_file():
        raise CaptionerError(f"{arguments.run} is no run folder: it holds no config.json")

    from captioner import confidence, config
    from captioner.captioning import checked
    from captioner.learning.data import read_data, tell
    from captioner.loading import load

    overrides = [] if arguments.data is None else [f"data.spec={arguments.data}"]
    settings = config.changed(
        config.load(arguments.run / "config.json"), overrides, sections=("data",)
    )
    data = read_data(settings)
    records = data.split(arguments.split)
    others = () if "test" in arguments.split else data.split("test")
    confidence.check_count(len(records))
    if "train" in arguments.split:
        tell("note: confidences fitted to training images are too high for others")
    weights = confidence.fingerprint(arguments.run)
    model = checked(load(arguments.run, overrides=arguments.overrides))

    def judged(records, split):
        tell(f"captioning {len(records)} {split} images")
        return confidence.judged(model, records)

    captions, right = judged(records, arguments.split)
    calibration = confidence.fit(captions, right, model.settings, weights)
    print(
        f"{calibration.right:.0%} of {calibration.images} captions are right, which more images "
        f"may move by {100 * calibration.within:.0f} points, and every confidence with it"
    )
    print(f"{arguments.split}, each tenth of the images by a fit to the others:")
    measured = confidence.reliability(confidence.cross_fitted(captions, right), right)
    print(measured.table())
    if others:
        captions, right = judged(others, "test")
        print(f"\ntest, by the fit to {arguments.split}:")
        measured = confidence.reliability([calibration.confidence(*one) for one in captions], right)
        print(measured.table())
    calibration = replace(
        calibration, held_out=len(right), error=measured.error, chance=measured.chance
    )
    confidence.write(calibration, arguments.run / confidence.FILE)
    tell(f"wrote {arguments.run / confidence.FILE}; what is exported from now on has it")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = commandline.parser("calibrate", __doc__.partition(": ")[2])
    made.add_argument("--run", type=Path, required=True, metavar="DIR", help="the run folder")
    made.add_argument("--data", metavar="SPEC", help="the data set (default: the run's own)")
    made.add_argument(
        "--split", default="dev", help="what to fit on: dev, or a sum such as dev+test"
    )
    commandline.add_settings(made)
    return made


if __name__ == "__main__":
    commandline.run(main, parser().parse_args())
