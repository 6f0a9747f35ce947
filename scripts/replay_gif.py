"""Turn a squeeze's video into the GIF that README shows.

python scripts/replay_gif.py results/demo
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
from PIL import Image, ImageDraw, ImageFont

WIDTH, KEEP_EVERY, COLOURS = 432, 2, 40
BAR = 34  # pixels at the top of the video, with the policies' names


def titles(results: Path) -> tuple[str, str]:
    """What stands above the two policies: their sizes, from the squeeze's results."""
    found = json.loads(results.read_text(encoding="utf-8"))
    original, small = (found[which]["weight_bytes"] for which in ("baseline", "chosen"))
    return f"original: {original:,} bytes", f"squeezed: {small:,} bytes"


def frames(video: Path, above: tuple[str, str]) -> tuple[list[Image.Image], float]:
    """The frames that are kept, with sizes in the place of names, and milliseconds for each."""
    font = ImageFont.load_default(16)
    kept = []
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        for number, frame in enumerate(container.decode(stream)):
            if number % KEEP_EVERY:
                continue
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            draw = ImageDraw.Draw(image)
            draw.rectangle((0, 0, image.width, BAR), fill=image.getpixel((image.width // 2, 2)))
            for place, text in enumerate(above):
                draw.text((8 + place * image.width // 2, 7), text, "white", font)
            height = round(WIDTH * image.height / image.width)
            kept.append(image.resize((WIDTH, height), Image.Resampling.LANCZOS))
        rate = stream.average_rate
    if rate is None or not kept:
        raise SystemExit(f"error: {video} has no frames")
    return kept, 1000 * KEEP_EVERY / float(rate)


def main() -> None:
    """Write replay.gif beside replay.mp4."""
    folder = Path(sys.argv[1])
    images, milliseconds = frames(folder / "replay.mp4", titles(folder / "results.json"))
    # One palette for all frames, so that what stays as it was takes no bytes.
    palette = images[len(images) // 2].quantize(COLOURS)
    first, *others = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    first.save(
        folder / "replay.gif",
        save_all=True,
        append_images=others,
        duration=round(milliseconds),
        loop=0,
    )


if __name__ == "__main__":
    main()
