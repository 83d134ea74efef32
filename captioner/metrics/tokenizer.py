"""Penn Treebank tokens of captions, as the official caption scorers see them.

coco-caption sends captions through Stanford's `PTBTokenizer` (CoreNLP 3.4.1, a Java program;
options `-preserveLines -lowerCase`) and drops a list of punctuation marks. Figures from other
tokens are not comparable with papers, so this module gives the same tokens without Java, oddities
included: brackets stay as `-lrb-` and `-rrb-` (coco-caption's list has them in capitals, the tokens
are in small letters), `Mr.` keeps its full stop, `don't` is `do n't`, `cannot` is `can not`, an
unknown abbreviation before a comma keeps its stop, emoji vanish.

The method is a scanner's: at each place the rule with the longest match wins, the earlier one when
two are equal, and a match counts with the context that its rule looks at behind the token.

Sources: the Treebank conventions (Marcus et al. 1993), CoreNLP's description of its tokeniser
(https://nlp.stanford.edu/software/tokenizer.html) and its grammar (PTBLexer.flex), what the program
answered to some hundred thousand test lines, and the list in pycocoevalcap's ptbtokenizer.py. Known
to differ: soft hyphens and braces inside addresses, letters that Unicode gained after 2011, marks
of some Indic and Semitic scripts.
"""

import re
import unicodedata

# Tokens that coco-caption removes; those that lower-casing has made unreachable are left out.
PUNCTUATION = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"])


def _bmp(*categories: str) -> str:
    """The body of a character class: 16-bit characters of these Unicode categories.

    Java's scanner reads 16-bit units, so letters and digits beyond U+FFFF are none to it.
    """
    ranges: list[list[int]] = []
    for code in range(0x80, 0x10000):
        if unicodedata.category(chr(code)) in categories:
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(a)}-{chr(b)}" for a, b in ranges)


_SOFT = "\u00ad"  # the soft hyphen counts as a letter and is then removed
_LETTERS = "A-Za-z" + _bmp("Lu", "Ll", "Lt", "Lm", "Lo")
# Combining marks: each block's own, as far as scripts need them inside words.
_MARKS = "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u064b-\u065e\u0670\u0900-\u0903\u093c" \
    "\u093e-\u094e\u0951-\u0955\u0962\u0963\u0e30-\u0e3a\u0e47-\u0e4e"
# One letter of a word; old texts write accents as entities.
_L = rf"(?:[{_LETTERS}{_MARKS}{_SOFT}]|&[aeiouAEIOU](?i:acute|grave|uml);)"
_D = f"[0-9{_bmp('Nd')}]"
_A = f"[{_LETTERS}0-9{_bmp('Nd')}]"  # a letter or digit, no mark
_SPACE = "[ \t\u00a0\u2000-\u200a\u3000]"
_SPACE_OR_LINE = "[ \t\u00a0\u2000-\u200a\u3000\r\n\u2028\u2029\u000b\u000c\u0085]"
_APOS = "(?:['\u0092\u2019]|(?i:&apos;))"
_APOS_ALIKE = "(?:['`\u0091\u0092\u2018\u2019\u201b]|(?i:&apos;))"

_WORD = rf"{_L}(?:{_L}|{_D})*(?:[.!?]{_L}(?:{_L}|{_D})*)*"
_NUMBER = rf"(?:{_D}+(?:[.:,{_SOFT}\u066b\u066c]{_D}+)*|(?:[.:,{_SOFT}\u066b\u066c]{_D}+)+)"
_REDUCED = rf"{_APOS}(?:[msdMSD]|(?i:re|ve|ll))"  # 's, 'm, 'd, 're, 've, 'll
_NOT = rf"(?i:n){_APOS_ALIKE}(?i:t)"  # n't
_ACRONYM = r"(?:[A-Za-z](?:\.[A-Za-z])+|(?i:canada|sino|korean|eu|japan|non)-(?i:u\.s)" \
    r"|(?i:u\.s\.-(?:u\.k|u\.s\.s\.r)))"
_PART = rf"(?:[dDoOlL]{_APOS_ALIKE}{_A})?"  # the d' of d'Avignon
_HYPHENATED = rf"{_PART}{_A}+(?:[-_\u058a\u2010\u2011]{_PART}{_A}+)*"
_SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_ATTRIBUTE = r"""[A-Za-z][A-Za-z0-9_:.-]*(?:[ ]*=[ ]*(?:'[^']*'|"[^"]*"))?"""

# Words that keep their full stop, as patterns; letters of either case.
_TITLES = (
    "a\\.k\\.a adj adm adv alex assoc asst attys? ave brig capt cf cie col comdr cmdr cpl "
    "dept det drs? elec ens ft gen govs? hon insp invt jos lieut lt maj messrs mfg mlle mme "
    "mr mrs ms msgr mt mtg natl pfc ph pres profs? pvt reps? rev sens? sfc sgt spc ste? "
    "supts? treas vs wm v"
)
# These do, too, and won't join a compound of which only two more characters are left to see: of
# `etc.-x` and `Jan.-5` the abbreviation is split off.
_ABBREVIATIONS = (
    "al ala apr ariz assn aug bancorp bhd bldg blvd bros calif co colo conn corp cos ct dak "
    "dec ed\\.d esq est etc ext feb fla fri ga inc ind intl jan jr jul jun kans? ky ltd mar "
    "md mich minn mo mon mont neb nev nov oct okla penn ph\\.d plc pp?t[ey]s? rd rt seq sept? "
    "sq sr sys tel tenn thu(?:rs)? tues? univ va vt wed wisc? wyo"
)
_CAPITAL_ABBREVIATIONS = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash"  # small, they are words
_BEFORE_NUMBERS = "art bldg ca figs? nos? op pp prop"  # words that keep it before a number only
# "Plan B. It is": before these words a single letter's full stop ends the sentence.
_OPENERS = (
    "A About According Additionally After An As At But Earlier He Her Here However If In It Last "
    "Many More Mr\\. Ms\\. Now Once One Other Our She Since So Some Such That The Then There These "
    "They This We When While What Yet You"
)


def _any(words: str) -> str:
    """Matches any of these words, in letters of either case."""
    return f"(?i:{'|'.join(words.split())})"


def _any_capital(words: str) -> str:
    """The same, but the first letter must be a capital."""
    return "(?:" + "|".join(f"{word[0]}(?i:{word[1:]})" for word in words.split()) + ")"


# Addresses run up to a blank, a quotation mark or a bracket.
_IN_ADDRESS = r"""[^\s"<>|(){}]"""
_IN_LABEL = r"""[^\s"<>|(){}.]"""
_PATH = rf"(?:/{_IN_ADDRESS}{{2,}}(?<![.!?,-]))?"
_FILE_ENDINGS = (
    "bat bmp c cgi class cpp dll docx? exe gif gz h html? jar java jpe?g mov mp3 pdf php pl png "
    "ppt ps py sql tar txt wav x xml zip"
)


# In each rule group 1, if there is one, is the token; what follows it is context.
_RULES = [re.compile(rule) for rule in (
    # Words, and what leans on them.
    r"(?i:c\+\+|[cf]#)",
    r"(?i:(can)not)",
    rf"({_APOS}(?i:t))(?i:is|was)",
    r"(?i:(gon(?=na)|got(?=ta)|lem(?=me)|gim(?=me)|wan(?=na))[a-z]{2})",
    rf"({_WORD}){_REDUCED}",
    rf"([A-Za-z{_SOFT}]*[A-MO-Za-mo-z]{_SOFT}*){_NOT}",
    _WORD,
    rf"({_REDUCED})[^A-Za-z]",
    _NOT,
    # Apostrophes inside words, or instead of their first or last letters.
    rf"{_APOS}(?i:n){_APOS}?|[lLdDjJ]{_APOS}|(?i:dunkin|somethin|ol){_APOS}",
    rf"{_APOS}(?i:em|till?|cause|[2-9]0s)",
    rf"[A-HJ-XZn]{_APOS_ALIKE}{_L}{{2,}}",
    rf"{_L}+[aeiouyAEIOUY]{_APOS_ALIKE}[aeiouA-Z]{_L}*",
    r"(?i:cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)",
    rf"(?i:cap{_APOS}n|c{_APOS}est)",
    rf"((?i:y){_APOS}){_L}",
    rf"({_APOS}[0-9][0-9]){_SPACE_OR_LINE}",
    # Addresses.
    rf"(?i:https?)://{_IN_ADDRESS}{{2,}}(?<![.!?,-])",
    rf"(?i:www)(?:\.(?:(?![!?,]){_IN_LABEL})+)+\.[a-zA-Z]{{2,4}}{_PATH}",
    rf"(?:[#%&*+a-z~\u0080-\uffff]+\.)+{_any('com edu net org')}{_PATH}",
    rf"(?:<|&lt;)?[a-zA-Z0-9]{_IN_ADDRESS}*@{_IN_LABEL}+(?:\.{_IN_LABEL}+)*(?:>|&gt;)?",
    rf"@[a-zA-Z_][a-zA-Z_0-9]*|\#{_L}+",
    # Numbers and money.
    rf"{_D}{{1,2}}[-/]{_D}{{1,2}}[-/]{_D}{{2,4}}",
    rf"[-+]?{_NUMBER}",
    "[\u207a\u207b\u208a\u208b]?(?:[\u00b2\u00b3\u00b9\u2070\u2074-\u2079]+|[\u2080-\u2089]+)",
    rf"(?:{_D}{{1,4}}[- \u00a0])?{_D}{{1,4}}(?:\\?/|\u2044){_D}{{1,4}}",
    r"(?:\([0-9]{2,3}\)[ \u00a0]?|\+{0,2}(?:[0-9]{2,4}[- \u00a0]){1,2})"
    r"[0-9]{3,4}[- \u00a0]?[0-9]{3,5}",
    r"(?:\+{0,2}[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}",
    r"[A-Z]*\$",
    # Abbreviations.
    rf"([A-Za-z])\.{_SPACE_OR_LINE}+{_any_capital(_OPENERS)}{_SPACE_OR_LINE}",
    rf"((?:{_any(_ABBREVIATIONS)}|{_any_capital(_CAPITAL_ABBREVIATIONS)})\.)(?s:..)?",
    rf"(?:{_ACRONYM}|{_any(_TITLES)}|[A-Za-z])\.",
    rf"({_any(_BEFORE_NUMBERS)}\.){_SPACE_OR_LINE}?{_D}",
    rf"({_ACRONYM}){_SPACE_OR_LINE}",
    rf"({_A}+(?:\.{_A}+)*\.{_any(_FILE_ENDINGS)})(?:{_SPACE_OR_LINE}|[.?!,])",
    rf"({_WORD}\.)[,;:\u3001]",
    # Compounds.
    rf"{_SLASHED}(?:\\?/{_SLASHED}){{1,2}}",
    r"(?i:pro-|anti-|s(?:&|&amp;)p-500|s(?:&|&amp;)ls|c\.d\.s|-[lr][rcs]b-)",
    rf"([A-Za-z0-9][A-Za-z0-9.,{_SOFT}]*(?:-(?:{_ACRONYM}\.|[A-Za-z0-9{_SOFT}]+))+\.)[,;:\u3001]",
    rf"[A-Za-z0-9][A-Za-z0-9.,{_SOFT}]*(?:-(?:{_ACRONYM}\.|[A-Za-z0-9{_SOFT}]+))+",
    rf"({_HYPHENATED}\.)[,;:\u3001]",
    _HYPHENATED,
    r"([A-Z]+(?:(?:[+&]|(?i:&amp;))[A-Z]+)+\.)[,;:\u3001]",
    r"[A-Z]+(?:(?:[+&]|(?i:&amp;))[A-Z]+)+",
    # Marks of punctuation, markup and symbols.
    rf"<(?:[!?][A-Za-z-][^>\r\n]*|/?[A-Za-z][A-Za-z0-9_:.-]*(?:[ ]+{_ATTRIBUTE})*[ ]*/?)[ ]*>",
    r"&(?i:md|mdash|ndash|amp|lt|gt|quot|apos|nbsp|ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+);",
    r"([<>]?[:;=]['*o-]?[][(){@|\\dpDOP])[^A-Za-z0-9]",
    r"[-^x=~<>']_[-^x=~<>']|\([-^x=~<>'][_.]?[-^x=~<>']\)",
    r"(')[A-Za-z][^ \t\r\n\u00a0]",
    _REDUCED,
    "[`\u2018-\u201f\u0091-\u0094\u2039\u203a\u00ab\u00bb]{1,2}|['`]'|'",
    r"\.{3,5}|(?:\.[ \u00a0]){2,4}\.|[?!]+|-+|@+|_+|#+|\*+|(?:\\\*){1,3}|<<|>>",
)]

# Symbols that are tokens of their own; other characters are dropped, as the Java program does.
_SYMBOL = re.compile(
    "[!-/:-@\\[-`{-~\u0080\u0096\u0097\u00a1-\u00bf\u00d7\u00f7\u037e\u0387\u0589\u05be\u05c0"
    "\u05c3\u05f3\u05f4\u060a\u060c\u061b\u061f\u066a\u066d\u06d4\u0964\u0965\u0e3f\u0e4f"
    "\u2013-\u2023\u2026\u2030-\u203b\u203e-\u2042\u2044\u207a-\u207f\u208a-\u208e\u20a0\u20a4"
    "\u20ac\u2100-\u214f\u2153-\u215e\u2190-\u2426\u2440-\u244a\u2460-\u2b73\u2b76-\u2bff"
    "\u3001\u3002\u3005\u3006\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
    "\uffe0\uffe1\uffe5\uffe6]"
)
_SPACES = re.compile(f"(?:{_SPACE_OR_LINE}|[\0\u200b\u200e\u200f\ufeff]|&nbsp;)+")

# The common case, a word between spaces, needs no search among the rules.
_PLAIN = re.compile(r"([A-Za-z]+|,) +|(\.)?\n$")
_SPLIT_WORDS = frozenset("cannot gonna gotta lemme gimme wanna".split())

_SPELLINGS = str.maketrans({
    "(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-",
    "\u00a2": "cents", "\u00a3": "#", "\u00a4": "$", "\u0080": "$", "\u20a0": "$", "\u20ac": "$",
    "\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3",
    "\u0091": "`", "\u2018": "`", "\u201b": "`", "\u2039": "`",
    "\u0092": "'", "\u2019": "'", "\u203a": "'",
    "\u0093": "``", "\u201c": "``", "\u00ab": "``",
    "\u0094": "''", "\u201d": "''", "\u00bb": "''", '"': "''",
    "\u0096": "--", "\u0097": "--", "\u2013": "--", "\u2014": "--", "\u2015": "--",
    "\u2026": "...",
})
_ENTITIES = {"amp": "&", "lt": "<", "gt": ">", "quot": "''", "apos": "'", "md": "--",
             "mdash": "--", "ndash": "--"}
# What is spelt anew: marks alone, telephone numbers, and the second half of a contraction.
_RESPELT = re.compile(rf"(?!<[!?])(?:(?!{_A}).)+|\([0-9].*|{_REDUCED}|{_NOT}")


def tokenize(text: str) -> list[str]:
    """The tokens that coco-caption would score for this caption.

    Args:
        text: str. One caption, or any other text; line breaks count as spaces.

    Returns:
        list[str]: tokens in small letters, without punctuation; empty for an empty text. A token
        may hold a no-break space (`1 1/2`, telephone numbers), as the Java program's do.
    """
    # Captions stand one a line in the file that the Java program reads: the rules that look ahead
    # see a line end.
    text = " ".join(text.splitlines()) + "\n"
    tokens: list[str] = []
    at = 0
    while at < len(text):
        plain = _PLAIN.match(text, at)
        if plain and (word := (plain[1] or ".").lower()) not in _SPLIT_WORDS:
            tokens.append(word)
            at = plain.end()
        elif spaces := _SPACES.match(text, at):
            at = spaces.end()
        else:
            end = _token_end(text, at)
            if end == at:
                at += 1  # no rule knows this character
            else:
                tokens.append(_spelling(text[at:end]))
                at = end
    return [token for token in tokens if token and token not in PUNCTUATION]


def _token_end(text: str, at: int) -> int:
    """Where the token that begins at `at` ends; `at` itself if no rule matches."""
    longest, end = 0, at
    for rule in _RULES:
        match = rule.match(text, at)
        if match and match.end() - at > longest:
            longest = match.end() - at
            end = match.end(1) if rule.groups else match.end()
    if not longest and _SYMBOL.match(text, at):
        end = at + 1
    return end


def _spelling(token: str) -> str:
    """Treebank spelling of a token, in small letters."""
    token = token.replace(" ", "\u00a0").replace(_SOFT, "") or "-"
    entity = re.fullmatch(r"(?i:&(md|[mn]dash|amp|lt|gt|quot|apos);)", token)
    if entity:
        return _ENTITIES[entity[1].lower()]
    if re.fullmatch("-{3,4}", token):
        return "--"
    if re.fullmatch(r"\.[.\u00a0]+", token):
        return "..."
    if _RESPELT.fullmatch(token):
        token = re.sub("(?i:&apos;)", "'", token).translate(_SPELLINGS)
    return re.sub("(?i:&amp;)", "&", token).lower()
