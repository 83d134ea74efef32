"""The names of the served signatures, for those who call them and those who build them."""

SIGNATURES = ("serving_default", "caption_with_prompt", "caption_beams")
EMBEDDING_SIGNATURES = ("embed_image", "embed_text")
CLASS_SIGNATURES = ("serving_default", "classify")
MATCHING_SIGNATURES = ("serving_default", "match")
JOINT_SIGNATURES = (*SIGNATURES, *EMBEDDING_SIGNATURES, "match")

# The log-probability that the search gives to a place for which it found no caption.
NOTHING = -1e9
