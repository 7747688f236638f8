"""What the words in a series description, or in another free text of a CT header, say of the series.

Descriptions are typed at the console or made by the scanner, in any language, with underscores, slashes or capitals
between words. They are split into words first (`words_of`), so that “AX_MIP_10mm” is understood and nothing is found
inside a word. Covered are English, German, French, Spanish, Italian, Portuguese and Dutch, without accents.
"""

import re
import unicodedata
from enum import Enum


class SeriesClass(str, Enum):
    """What a CT series is; in the order in which one class outweighs another."""

    CAPTURE = "screen picture, report or rendering"
    LOCALIZER = "localizer"
    SLAB = "projection of a slab"
    MATERIAL = "material or single-energy images"
    PERFUSION = "perfusion or dynamic series"
    ANGIOGRAPHY = "angiography"
    OTHER_PLANE = "reformat of another plane"
    CONTRAST = "contrast-enhanced"
    OTHER_PART = "not of the head"
    SHARP = "sharp kernel"
    AXIAL_REFORMAT = "axial reformat"
    PLAIN = "plain"


CLASS_WORDS = {
    SeriesClass.CAPTURE: (
        "screenshot|screenshots|bildschirmfoto|screensave|screen|snapshot|snapshots|capture|report|rapport|bericht|"
        "befund|summary|vrt|vr|ssd|rendering|rendered|volume render|dose report|dose info|dose information|"
        "dose sheet|dose page|dose summary|dose screen|dose sr|dose record|dosis|dosisprotokoll|dosisbericht|"
        "patient protocol|patientenprotokoll|protocole patient|protocolo paciente|key images|keyimages|fused|overlay"
    ),
    SeriesClass.LOCALIZER: (
        "topogram|topogramm|topogramme|topograma|topogramma|topo|scout|scouts|scanogram|scanogramm|scanogramme|"
        "prospective index|scano|surview|localizer|localiser|localizers|localizador|localizzatore|lokalizer|pilot|"
        "scanview"
    ),
    SeriesClass.SLAB: (
        "mip|mips|minip|minips|tmip|min ip|max ip|maximum intensity|minimum intensity|slab|raysum|ray sum|projection|"
        "projections"
    ),
    SeriesClass.MATERIAL: (
        "vnc|vnca|tnc|virtual non|virtual native|virtual un enhanced|virtuell nativ|iodine|iodio|iode|yodo|jod|iodo|"
        "mono|monoe|monoenergetic|monoenergetisch|monochromatic|monoplus|mono e|vmi|kev|rho|rhoz|zeff|z eff|"
        "z effective|effective z|eff z|effective atomic|electron density|material density|md water|water iodine|gsi|"
        "calcium suppressed|sn 100|sn 140|sn 150|uric acid|mat specific|mat removed|mat modified|mat fractional|"
        "mat value|eff atomic"
    ),
    SeriesClass.PERFUSION: (
        "perfusion|perfusions|perfusione|perfusao|perfusie|perfusions ct|perf|ctp|vpct|neuropct|cbf|cbv|cbp|mtt|ttp|"
        "tmax|t max|penumbra|permeability|dynamic|dynamisch|dynamique|dinamico|dyn|dynmulti|4 d"
    ),
    SeriesClass.ANGIOGRAPHY: (
        "cta|ctas|ctv|mcta|angio|angios|angiography|angiographie|angiografia|angiografie|angiogram|angiotc|angiotac|"
        "angioct|angioscanner|venogram|venography|venographie|willis|cow|tsa|supraaorticos|supraaortiques|"
        "supra aortic|carotid|carotids|carotis|karotis|karotiden|carotidas|carotidi|bolus|monitoring|premonitoring|"
        "smartprep|smart prep|surestart|sure start|real prep|tracker|tracking|locator|timing|subtraction|subtracted|"
        "subtraktion"
    ),
    SeriesClass.OTHER_PLANE: (
        "cor|coro|coronal|coronals|coronale|coronales|coronaal|koronar|kor|sag|sagi|sagittal|sagittals|sagital|"
        "sagittale|sagittaal|mpr|mprs|reformat|reformats|reformatted|curved|cpr|oblique|obliq|radial|parasagittal"
    ),
    SeriesClass.OTHER_PART: (
        "chest|thorax|thoracic|thoracique|torax|torace|brust|abdomen|abdominal|abd|addome|bauch|oberbauch|pelvis|"
        "pelvic|becken|bacino|bassin|lung|lungs|lunge|poumon|pulmon|polmone|heart|cardiac|herz|coeur|cuore|coronary|"
        "calcium score|spine|hws|bws|lws|wirbelsaule|rachis|columna|colonna|coluna|wervelkolom|cervical|cervicale|"
        "lumbar|thoracolumbar|neck|hals|cou|cuello|collo|pescoco|knee|knie|hip|hufte|foot|fuss|hand|shoulder|"
        "schulter|liver|leber|foie|higado|extremity|leg|body|whole body|wb|tap|pns|sinus|sinuses|nnh|orbit|orbits|"
        "orbita|dental|dentascan|facial|face|gesicht|mittelgesicht|maxillofacial|mandible|kiefer"
    ),
    SeriesClass.SHARP: (
        "bone|bones|bony|boneplus|knochen|knochenfenster|osseux|osseuse|os|ossea|osseo|oseo|osea|hueso|ossos|osso|"
        "bot|botten|botkernel|petrous|petrosal|felsenbein|felsenbeine|rocher|rochers|rocas|mastoid|mastoids|mastoide|"
        "iac|inner ear|innenohr|oreille|oido|oidos|orecchio|sharp|edge|hrct|uhr|temporal bone|temporal bones"
    ),
}  # fmt: skip
HEAD_WORDS = (
    "head|headseq|brain|skull|kopf|schadel|neurocranium|cranium|cranial|cranio|craneo|crane|cranien|craniale|kranial|"
    "cerebral|cerebrale|cerebrum|cerebro|cerebri|cerveau|cervello|zerebral|hirn|gehirn|tete|testa|capo|cabeza|cabeca|"
    "encefalo|encephale|encefalico|neuro|hersenen|schedel|hoofd|cct|ccct|caput|ncct"
)
AXIAL_WORDS = "ax|axial|axials|axiale|axiaal|axiales|tra|trans|transverse|transversal|transaxial"

NEGATIONS = set(
    "without wo no non not none minus free ohne o kein keine vor sans non avant sin s sem senza zonder geen pre before "
    "antes prima un nil".split()
)
FILLERS = set(
    "iv i v intravenous endovenoso intravenoso any of de di da du del mezzo medio produit medium media agent".split()
)
WITH = set("with w con c com mit avec met post nach apres despues dopo na".split())
WITH_ALONE = {"w", "with", "mit", "avec", "met"}
"""“HEAD WITH”, “tête avec IV”; not “con” and “com”, which join other words as well."""
CONTRAST_STEMS = ("contrast", "kontrast", "enhanc", "emhanc", "injec", "iniet", "inyec", "injek")
CONTRAST_WORDS = set("dye apc km mdc pdc ce cect cec inj gd enh arterial arteriell venous venos portal delayed".split())
AFTER_POST = set("contrast con c km iv inj gd".split())


def words_of(text):
    """Split a text into lower-case words and numbers, without accents.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of str
        Words run together with capitals are split (“HeadAngio”), as are numbers and units (“5mm”); “C+” and “C-”
        become words.
    """
    text = unicodedata.normalize("NFKD", text)
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    text = re.sub(r"i-?Dose|IDOSE", " iterative ", text)
    text = re.sub(r"(?<=\d)\s?(ke?V)p?(?![a-z])", lambda unit: f" {unit[1].lower()} ", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", text).casefold()
    text = re.sub(r"\b([a-z])\.(?=[a-z]\b)", r"\1", text)  # m.d.c. and i.v.
    text = re.sub(r"(?<![a-z0-9])(c\s?\+|\+\s?c(?![a-z]))", " with contrast ", text)
    text = re.sub(r"(?<![a-z0-9])(c\s?-(?![a-z0-9])|-\s?c(?![a-z0-9])|s\s?/\s?c(?![a-z]))", " without contrast ", text)
    text = re.sub(r"(?<![a-z0-9])c\s?/\s?c(?![a-z])", " with contrast ", text)
    text = re.sub(r"(?<![a-z])(non|pre|post|un)(?=contrast|con\b|enhanced)", r"\1 ", text)
    text = re.sub(r"(?<![a-z0-9])w\s?[/_-]?\s?o(?![a-z])|(?<![a-z])w/o", " without ", text)
    return re.findall(r"[a-z]+|\d+(?:[.,]\d+)?", text)


def classes_in(text):
    """Classes that a text names.

    Parameters
    ----------
    text : str

    Returns
    -------
    list of SeriesClass
        In the order of `SeriesClass`; empty for a plain series.
    """
    words = words_of(text)
    found = {kind for kind in CLASS_WORDS if _names(words, kind)}
    if says_contrast(words):
        found.add(SeriesClass.CONTRAST)
    if is_sharp_kernel(kernel_in(text)):
        found.add(SeriesClass.SHARP)
    if SeriesClass.OTHER_PART in found and _any_of(words, HEAD_WORDS):
        found.discard(SeriesClass.OTHER_PART)
    if SeriesClass.OTHER_PLANE in found and _any_of(words, AXIAL_WORDS):
        found.remove(SeriesClass.OTHER_PLANE)
        found.add(SeriesClass.AXIAL_REFORMAT)
    return [kind for kind in SeriesClass if kind in found]


def names_head(text):
    """Whether a text names the head or the brain."""
    return _any_of(words_of(text), HEAD_WORDS)


def says_contrast(words):
    """Whether words say that contrast was given, and do not deny it.

    “without and with contrast” counts as given: a series that may be either is not taken for a native one.

    Parameters
    ----------
    words : list of str
        As `words_of` gives them.

    Returns
    -------
    bool
    """
    for index, word in enumerate(words):
        following = words[index + 1] if index + 1 < len(words) else ""
        if word == "post" and (following in AFTER_POST or not following or following[0].isdigit()):
            return True
        if word in WITH_ALONE and (not following or following in AFTER_POST | {"without"}):
            return True
        if word == "oral" or (word == "cc" and index and words[index - 1][0].isdigit()):
            return True  # an injection, as in “4cc sec 150cc”
        is_abbreviation = word == "con" and index and words[index - 1] in NEGATIONS | {"post", "w", "with"}
        if word in CONTRAST_WORDS or word.startswith(CONTRAST_STEMS) or is_abbreviation:
            if not _is_denied(words, index):
                return True
    return False


def denies_contrast(text):
    """Whether a text, such as a value of ContrastBolusAgent, says that no contrast was given."""
    words = words_of(text)
    if not any(word.isalpha() for word in words):
        return True  # “-” or “0”
    denying = NEGATIONS | {"n", "a", "na", "null", "nativ", "native", "plain", "unknown"}
    rest = [word for word in words if word not in denying | FILLERS | CONTRAST_WORDS]
    return bool(set(words) & denying) and all(word.startswith(CONTRAST_STEMS) for word in rest)


def kernel_in(text):
    """Reconstruction kernel that a description ends in, as Siemens, Canon and Toshiba name theirs, or ""."""
    found = re.search(r"(?<![A-Za-z0-9])((?:[HJBIQUD]|[HBQ][rcvpf])\d\d[fhmsru]?|FC\d\d)(?![A-Za-z0-9])", text)
    return found[1] if found else ""


def is_sharp_kernel(kernel):
    """Whether a reconstruction kernel is one for bone or lung, by the makers' naming schemes.

    Parameters
    ----------
    kernel : str
        Value of ConvolutionKernel; several values joined by a space.

    Returns
    -------
    bool
        False for an unknown or empty name.
    """
    if set(words_of(kernel)) & set("bone boneplus lung edge ultra sharp knochen hrct detailed".split()):
        return True
    first = kernel.strip().split(" ")[0]
    canon = re.match(r"FC(\d\d)", first)
    if canon:
        return int(canon[1]) in {*range(30, 40), *range(50, 60), *range(80, 90)}
    siemens = re.match(r"[A-Z][a-z]?(\d\d)", first)
    if siemens:
        return int(siemens[1]) >= 55
    return first in {"D", "E", "L", "EC", "YA", "YB", "YC", "YD", "YE"}  # Philips


def is_known_kernel(kernel):
    """Whether a kernel's name follows a scheme by which `is_sharp_kernel` can decide."""
    first = kernel.strip().split(" ")[0]
    soft = set("SOFT STANDARD STD STD+ STND STAND BRAIN SMOOTH A B C UA UB UC".split())
    return first.upper() in soft or bool(re.match(r"FC\d\d|[A-Z][a-z]?\d\d", first))


def _is_denied(words, index):
    """Whether a negation stands before the word, or right after it (“contrast: none”), and nothing affirms it."""
    if words[index].endswith(("frei", "free", "los")):
        return True
    if words[index + 1 : index + 2] and words[index + 1] in ("none", "no", "free", "without", "kein", "nein"):
        return True
    before = index - 1
    while before >= 0 and (words[before] in FILLERS or words[before].startswith(CONTRAST_STEMS)):
        before -= 1
    if before < 0 or words[before] not in NEGATIONS:
        return False
    conjunctions = ("and", "und", "et", "e", "y", "en", "or")
    while before > 0 and words[before - 1] in conjunctions:
        before -= 1
    return before == 0 or words[before - 1] not in WITH


def _names(words, kind):
    return _any_of(words, CLASS_WORDS.get(kind, ""))


def _any_of(words, phrases):
    """Whether any of the phrases, separated by |, stands in the words."""
    text = f" {' '.join(words)} "
    return any(f" {phrase} " in text for phrase in phrases.split("|") if phrase)
