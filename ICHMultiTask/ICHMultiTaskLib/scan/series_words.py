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
        "patient protocol|patientenprotokoll|protocole patient|protocolo paciente|protocollo paziente|key images|"
        "keyimages|fused|overlay|result|results|relatorio|informe|dosisrapport|bildschirmkopie|captura|pantalla|"
        "ecran|schermata|presentation state"
    ),
    SeriesClass.LOCALIZER: (
        "topo|scout|scouts|loc|prospective index|scano|surview|survieuw|localizer|localiser|localizers|localizador|"
        "localizzatore|lokalizer|pilot|scanview|toposcan|reperage|mode radio|radiogramma|ubersicht|"
        "ubersichtsaufnahme|vista previa|overview|survey|localisateur|localizzazione"
    ),
    SeriesClass.SLAB: (
        "mip|mips|minip|minips|tmip|min ip|max ip|maximum intensity|minimum intensity|slab|raysum|ray sum|projection|"
        "projections"
    ),
    SeriesClass.MATERIAL: (
        "vnc|vnca|tnc|virtual non|virtual native|virtual un enhanced|virtuell nativ|iodine|jodkarte|jod map|"
        "carte d iode|mapa de yodo|mappa di iodio|mono|monoe|monoenergetic|monoenergetisch|monochromatic|monoplus|"
        "mono e|vmi|kev|rho|rhoz|zeff|z eff|z effective|effective z|eff z|effective atomic|electron density|"
        "material density|md water|water iodine|gsi|calcium suppressed|ca supp|virtuelle native|virtuelles nativ|"
        "sn 100|sn 140|sn 150|uric acid|mat specific|mat removed|mat modified|mat fractional|mat value|eff atomic"
    ),
    SeriesClass.PERFUSION: (
        "perf|ctp|perfusao|pct|vpct|neuropct|shuttle|cbf|cbv|cbp|mtt|ttp|ttd|tmax|t max|penumbra|permeability|"
        "dynamic|dynamisch|dynamique|dinamico|dyn|dynmulti|4 d"
    ),
    SeriesClass.ANGIOGRAPHY: (
        "cta|ctas|ctv|mcta|veno|trombo venoso|willis|cow|tsa|supraaorticos|supraaortiques|supra aortic|"
        "supra aortiques|supra aorticos|carotid|carotids|carotis|karotis|karotiden|carotidas|carotidi|carotide|"
        "carotides|carotiden|dsa|vessels|gefasse|hirngefasse|halsgefasse|vaisseaux|bolus|monitoring|premonitoring|"
        "smartprep|smart prep|surestart|sure start|real prep|tracker|tracking|locator|timing|subtraction|subtracted|"
        "subtraktion"
    ),
    SeriesClass.OTHER_PLANE: (
        "cor|coro|coronal|coronals|coronale|coronales|coronaal|koronar|koronal|koronare|kor|coron|frontal|frontale|"
        "frontales|sag|sagi|sagittal|sagittals|sagital|sagittale|sagittaal|mpr|mprs|reformat|reformats|reformatted|"
        "curved|cpr|oblique|obliq|radial|parasagittal"
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
        "bone|bones|bony|boneplus|kn fenster|hartgewebe|osseous|osseux|osseuse|os|ossea|osseo|oseo|osea|hueso|ossos|"
        "osso|bot|botten|botkernel|botwindow|botvenster|botreconstructie|petrous|petrosal|felsenbein|felsenbeine|"
        "rocher|rochers|rocas|mastoid|mastoids|mastoide|mastoides|iac|iam|inner ear|innenohr|oreille|oido|oidos|"
        "orecchio|sharp|edge|hrct|uhr|temporal bone|temporal bones"
    ),
}  # fmt: skip
CLASS_STEMS = {
    SeriesClass.LOCALIZER: ("topogram", "scanogra", "scannogra", "escanogra"),
    SeriesClass.PERFUSION: ("perfusion", "perfusie"),
    SeriesClass.ANGIOGRAPHY: ("angio", "venogra"),
    SeriesClass.SHARP: ("knochen",),
}
"""What words of a class begin with, where a language puts words together or ends them in many ways."""
HEAD_WORDS = (
    "head|headseq|brain|skull|kopf|schadel|neurocranium|cranium|cranial|cranio|craneo|crane|cranien|craniale|kranial|"
    "cerebral|cerebrale|cerebrum|cerebro|cerebri|cerveau|cervello|zerebral|hirn|gehirn|tete|testa|capo|cabeza|cabeca|"
    "encefalo|encephale|encefalico|neuro|hersenen|schedel|hoofd|cct|ccct|caput|ncct"
)
AXIAL_WORDS = "ax|axial|axials|axiale|axiaal|axiales|tra|trans|transverse|transversal|transaxial"

NEGATIONS = set(
    "without wo no non not none minus free ohne o kein keine vor sans non avant sin s sem senza zonder geen pre "
    "before antes prima un nil z k niet nao pra voor zero keines keins keiner nihil nicht nein nie aucun aucune "
    "pas ninguno ninguna ningun nessuno nessuna nessun nenhum nenhuma nada nul".split()
)
FILLER_STEMS = ("intraven", "endoven")
FILLERS = set("iv i v any of de di da du del do mezzo medio meio produit prod medium media agent agente agents".split())
CONJUNCTIONS = ("and", "und", "et", "e", "y", "en", "or")
WITH = set("with w con c com mit avec met post nach apres despues dopo na".split())
WITH_ALONE = {"w", "with", "mit", "avec", "met"}
"""“HEAD WITH”, “tête avec IV”; not “con” and “com”, which join other words as well."""
UNITS = {"ml", "cc", "mg", "g", "l"}
CONTRAST_STEMS = (
    "contrast", "kontrast", "enhanc", "emhanc", "injec", "iniet", "inyec", "injek", "poscontrast", "gadolin",
    "arteri", "venos", "veineu", "spatphase",
)  # fmt: skip
CONTRAST_WORDS = set(
    "dye apc km mdc pdc civ cte ce cect cec inj gd gad gado enh venous portal delay delayed late iode iodio iodo "
    "yodo jod tardif tardive tardivo tardiva tardio tardia spat".split()
)
AFTER_POST = set("contrast con c km cm iv inj gd gad gado mdc pdc civ".split())


_KNOWN = {
    word
    for phrases in (*CLASS_WORDS.values(), HEAD_WORDS, AXIAL_WORDS)
    for word in re.split(r"[| ]", phrases)
    if len(word) > 1
}
_BEGINNINGS = (*HEAD_WORDS.split("|"), *"axial ax coronal cor sagittal sag tra".split())


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
    text = re.sub(r"i-?Dose|IDOSE|AiCE", " iterative ", text)
    text = re.sub(r"(?<=\d)\s?(ke?V)p?(?![a-z])", lambda unit: f" {unit[1].lower()} ", text)
    text = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z]{2})", " ", text).casefold()
    text = re.sub(r"\b([a-z])\.(?=[a-z]\b)", r"\1", text)  # m.d.c. and i.v.
    text = re.sub(r"(?<![a-z0-9])c\s?\+|\+\s?c(?![a-z])(?!.?sp)", " with contrast ", text)
    text = re.sub(r"(?<![a-z0-9])(c\s?-(?![a-z0-9])|-\s?c(?![a-z0-9])|s\s?/\s?c(?![a-z]))", " without contrast ", text)
    text = re.sub(r"(?<![a-z0-9])c\s?/\s?c(?![a-z])", " with contrast ", text)
    text = re.sub(r"(?<![a-z])(non|no|pre|post|un)(?=contrast|con\b|enhanced|iv\b)", r"\1 ", text)
    text = re.sub(r"(?<![a-z0-9])(iv|km|mdc|pdc)\+", " with contrast ", text)
    text = re.sub(r"(?<![a-z0-9])(iv|km|mdc|pdc)-(?![a-z0-9])", " without contrast ", text)
    text = re.sub(r"(?<![a-z0-9])w\s?[/_'-]?\s?o(?:ut)?(?![a-z])|(?<![a-z])w/o", " without ", text)
    words = re.findall(r"[a-z]+|\d+(?:[.,]\d+)?", text)
    return [part for word in words for part in _unglued(word)]


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
        if following == "c" and words[index + 2 : index + 3] and words[index + 2].startswith("sp"):
            continue  # “head with C spine”
        if word in WITH_ALONE and (not following or following in AFTER_POST | {"without"}):
            return True
        if word in WITH and following in ("iv", "c"):
            return True
        if (
            word in WITH
            and following in CONJUNCTIONS
            and words[index + 2 : index + 3]
            and words[index + 2] in NEGATIONS
        ):
            return True  # “with and without”
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
        return not any(word.strip("0.,") for word in words)  # “-” or “0”; “100” is an amount
    if not any(word.strip("0.,") for word in words if word not in UNITS):
        return True  # “0 ml”
    denying = NEGATIONS | set(
        "n a na nc null false nativ native plain unknown unspecified applicable specified".split()
    )
    given = set("given used applied administered administre administrado administra aplicado se yet".split())
    rest = [word for word in words if word not in denying | given | FILLERS | CONTRAST_WORDS]
    return bool(set(words) & denying) and all(word.startswith((*FILLER_STEMS, *CONTRAST_STEMS)) for word in rest)


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
    if words[index + 1 : index + 2] and words[index + 1] in (
        "none",
        "no",
        "free",
        "frei",
        "without",
        "kein",
        "nein",
        "nil",
        "not",
    ):
        return True
    before = index - 1
    while before >= 0 and (words[before] in FILLERS or words[before].startswith((*FILLER_STEMS, *CONTRAST_STEMS))):
        before -= 1
    if before < 0 or words[before] not in NEGATIONS:
        return False
    while before > 0 and words[before - 1] in CONJUNCTIONS:
        before -= 1
    return before == 0 or words[before - 1] not in WITH


def _unglued(word):
    """A word that begins with a plane or the head and goes on with another known word (“axmip”) in two parts."""
    for first in () if word in _KNOWN else _BEGINNINGS:
        if word.startswith(first) and word[len(first) :] in _KNOWN:
            return first, word[len(first) :]
    return (word,)


def _names(words, kind):
    stems = CLASS_STEMS.get(kind)
    return _any_of(words, CLASS_WORDS.get(kind, "")) or bool(stems) and any(word.startswith(stems) for word in words)


def _any_of(words, phrases):
    """Whether any of the phrases, separated by |, stands in the words."""
    text = f" {' '.join(words)} "
    return any(f" {phrase} " in text for phrase in phrases.split("|") if phrase)
