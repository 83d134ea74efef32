"""The sentences of a model card that are the same for every version."""

OPENING = """\
An image captioner: a {looks} looks at the picture, {reader}and an LSTM
with attention writes the caption. A SavedModel for TensorFlow Serving and any TensorFlow program,
exported by captioner {captioner} on {exported}.

`assets.extra/captioner.json` holds the facts of this page for programs."""

CONTRACT = """\
- `image_bytes` are the contents of JPEG, PNG, GIF or BMP files. EXIF orientation is applied,
  transparency laid over white, the first frame of an animation taken. WebP, TIFF, HEIC, AVIF and
  others are refused by name.
- A JPEG may have {jpeg} megapixels (of 2^20 pixels), a progressive JPEG and the other formats
  {other}, and a side {side:,} pixels. Larger ones are refused before they are decoded.
- `prompt` may be empty. One that ends in `…` or `...` is a beginning, which the caption repeats
  word for word and continues; one that ends in `?` is a question, for models trained on questions;
  any other is key words.
- An image that can't be read gets an empty caption and the reason in `error`; `error` is empty for
  the others, and their results are not touched.
- `log_prob` is in nats, summed over the tokens, the end token included.
- {chance}
  In batches of other sizes a caption stays the same and its `log_prob` within 1e-3."""

NOTHING_DRAWN = """\
Nothing is drawn at random: the same batch gives the same results on the same machine."""

DRAWN = """\
What is drawn depends on the image file, the prompt and the seed alone: the same request gets the
  same captions."""

CONFIDENCE = """\
`captioner.load` gives a caption without a prompt its confidence: the probability that its main noun
is in what people say of the picture. It is a function of `log_prob` per word that was fitted to
{images:,} images which training didn't see, {right:.0%} of whose captions were right (give or take
{within:.0%} by chance). On {held_out:,} images that it wasn't fitted to, it is off
by {error:.2f} on average (true probabilities would seem to be off by {chance:.2f}).

Clients of a model server compute it from `caption` and `log_prob`, the same for each caption of
`caption_beams`:

```
x = log_prob / (words + 1)                   # words of the caption, parted by blanks, and its end
confidence = 1 / (1 + exp(-({intercept:.4f} + {slope:.4f} * x)))
```

It holds for this version's weights and search alone, and says nothing of captions with a prompt.
The numbers stand in full in `assets.extra/captioner.json`, as `intercept` and `slope` of
`calibration`."""

INTENDED_USE = """\
## Intended use

First drafts of captions and alt texts that a person reads before they are published, search by
content, sorting of one's own photographs, teaching and research. Not for decisions about people,
and not where a wrong description does harm."""

LIMITS = """\
## Limits and biases

- It is often wrong, and says wrong things as fluently as right ones. `log_prob` tells little of
  which is which. **Don't publish its captions as alt text unread.**
- It knows what its training captions speak of and describes anything else in their words. Counts,
  colours of small things, writing in pictures and who does what to whom are often wrong.
- It names people's sex and age from looks and surroundings, and follows the habits of its training
  data where the picture doesn't tell. It doesn't know who anybody is.
- Pretrained encoders bring the leanings of the data that they were trained on. Nobody has measured
  them here.
- Captions are lower case, without punctuation, in the language of the training captions."""

VERIFYING = """\
To compare: `sha256sum saved_model.pb variables/*` (on macOS `shasum -a 256`) in this folder."""
