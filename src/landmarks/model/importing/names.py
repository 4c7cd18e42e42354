"""Which names of a foreign label list name one place, which many, and which none.

Google's list has 60,177 names. Most name one place; "Rathaus" or "St. Nicholas Church" name very many, and "Tourism"
none. A name that is made only of words for kinds, of saints and of little words names many places: it gets no
position and is reported as its kind. A name on the list of what is no place is treated as background.

The list comes in six regional parts, so that a name of the gazetteer can be told from the same name elsewhere.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

NOT_A_PLACE = frozenset(
    "tourism|couch potato|outback|fynbos|wheatbelt|nature|wildlife|landscape|photography|architecture|culture|history"
    "|travel|vacation|holiday|food|restaurant|people|art|sculpture|graffiti|street art|sunset|sunrise|winter|summer"
    "|snow|autumn|flower|flowers|tree|trees|water|sky|cloud|clouds|night|rain|panorama|skyline|road|highway|traffic"
    "|house|building|ruins|miniaturk|madurodam|wax museum|spice community shop|prime electronic service center"
    "|bhavya traders|gatekeeper".split("|")
)
"""Names, folded, that no photo should get: ideas, plants, shops, and parks of small copies of famous buildings."""

_KINDS = {
    "church": "church iglesia eglise chiesa igreja kirche kerk kyrka kirke kirka kirkko kosciol kostel cerkiew tserkov"
    " templom biserica crkva capilla chapel chapelle cappella capela kapelle kapel parish parroquia pfarrkirche paroisse"
    " parrocchia sanctuary santuario shrine oratorio stadtkirche dorfkirche dorpskerk buitenkerk mariakerk marienkirche"
    " collegiata collegiale kirko tabernacle saborna",
    "cathedral": "cathedral catedral cathedrale cattedrale katedra katedrala dom duomo dome sobor domkirke domkyrka se",
    "basilica": "basilica basilique basilika",
    "monastery": "monastery convent abbey abbaye kloster monasterio convento mosteiro monastere monastero abbazia abtei"
    " priory prieure klasztor klooster manastir",
    "synagogue": "synagogue sinagoga synagoge",
    "mosque": "mosque masjid camii mezquita moschee mosquee",
    "temple": "temple templo tempel tempio pagoda stupa mandir gurdwara",
    "town hall": "rathaus townhall ayuntamiento municipio mairie radhus stadhuis prefeitura gemeentehuis raadhuis"
    " ratusz radnice casa_consistorial hotel_de_ville city_hall town_hall",
    "castle": "castle schloss burg chateau castillo castello castelo kasteel zamek slott slot hrad fort fortress fortaleza"
    " festung citadel alcazar",
    "palace": "palace palacio palais palazzo palast palacios paleis mansion villa manor",
    "museum": "museum museo musee museu muzeum gallery galeria galerie",
    "station": "station bahnhof hauptbahnhof gare estacion estacao stazione dworzec",
    "bridge": "bridge puente pont ponte brucke brug viaduct viaducto aqueduct acueducto",
    "tower": "tower turm torre tour toren clocktower belfry",
    "square": "square plaza piazza praca place platz marktplatz plein largo marketplace",
    "market": "market mercado marche markt markthalle bazaar",
    "park": "park parque parc parco garden gardens jardin jardim giardino garten stadtpark arboretum botanical"
    " botanico botanique zoo",
    "school": "school university college escuela schule universitat universidad institute academy gymnasium",
    "library": "library biblioteca bibliotheque bibliothek",
    "theatre": "theatre theater teatro opera cinema auditorium",
    "monument": "monument memorial monumento denkmal statue kriegerdenkmal obelisco obelisk cenotaph fountain fuente"
    " brunnen fontaine mausoleum cross cruz arch arco",
    "cemetery": "cemetery cementerio friedhof cimetiere cimitero cemiterio churchyard graveyard",
    "district": "chinatown downtown centro old_town altstadt centro_historico financial_district city_centre"
    " embarcadero",
    "beach": "beach playa plage praia spiaggia bay bahia",
    "lake": "lake lago lac see laguna lagoon reservoir pond",
    "waterfall": "waterfall waterfalls cascada cascade cascata",
    "mountain": "mountain mount hill cerro monte mont berg mirador viewpoint",
    "island": "island isla ile ilha isola insel",
    "mill": "mill windmill molino moulin muhle molen watermill",
    "lighthouse": "lighthouse faro farol phare leuchtturm",
    "harbour": "harbour harbor port puerto porto hafen marina pier dock",
    "stadium": "stadium arena estadio stadion stade",
    "airport": "airport aeropuerto flughafen aeroport",
    "hotel": "hotel hostel inn resort",
    "hospital": "hospital clinic krankenhaus",
    "government building": "courthouse parliament capitol government_house post_office police ministry embassy"
    " consulate legislature court",
}

_SAINTS = frozenset(
    "nicholas nicolas nikolaus nicola nikolai mikolaja mary maria marien marie mariae john johannes juan jean joao giovanni"
    " johann baptist baptista baptiste evangelist peter pedro pierre pietro petri paul pablo paolo pauli paulo michael"
    " miguel michel michele james jakob jacob jacobi jakobus santiago jacques giacomo george jorge georg georges giorgio"
    " andrew andreas andres andre andrea martin martino anthony antonio antonius antoine antony joseph jose josef giuseppe"
    " joao joaquim francis francisco francesco francois franziskus stephen stephan stefan esteban etienne stefano lawrence"
    " laurentius lorenzo laurent thomas tomas matthew matthaus mateo bartholomew catherine katharina catalina catherina"
    " barbara anne anna ana luke lucas mark markus marcos philip philipp elizabeth elisabeth teresa therese rita rosa"
    " augustine agustin augustin benedict bonifatius boniface sebastian vincent vicente roch rocco clement patrick david"
    " margaret margaretha cecilia lucia magdalene magdalena madeleine trinity trinidad trinite trinita dreifaltigkeits"
    " heart sacred corazon coeur assumption asuncion assomption immaculate conception concepcion nativity annunciation"
    " resurrection transfiguration ascension intercession dormition grace mercy rosary rosario carmen carmel peace angels"
    " apostles ignatius dominic domingo bernard louis luis ludwig olaf olav cyprian hripsime savior saviour salvator"
    " redeemer christ christus jesus spirit ghost virgin virgen lady señora senora senhora dame sinjorino archangel god"
    " mother lord cross".split()
)

_LITTLE = frozenset(
    "the a an of de la le les los las el il lo gli i du da do das dos del della dei delle degli der die den dem das des und"
    " and et y e en in at on for to zu zum zur am im van von het op saint st ste sankt san santa santo sao sint sveti svaty"
    " svaté swietego sw agios agia holy heilige heilig blessed our nuestra nuestro nossa notre nostra all saints souls old"
    " new alte alter altes neue neues neuer vieja nueva vecchio nuovo great big little grand upper lower central main public"
    " national state city town village municipal municipale municipales county royal war first second third united methodist"
    " presbyterian lutheran catholic evangelical orthodox roman baptist reformed episcopal anglican congregational parochial"
    " parish former high middle house building centre center complex hall office no independence liberty victory freedom"
    " presidential blue white red black north south east west kath ev katholische evangelische s a l d church clock".split()
)
_NEIGHBOURS = frozenset(
    frozenset(pair.split())
    for pair in (
        "africa asia|africa europe|asia europe|asia oceania|north_america south_america|north_america oceania"
    ).split("|")
)
_WORD = re.compile(r"[^\W_]+")
_SHORT = {"st": "saint", "ste": "saint", "mt": "mount"}


@dataclass(frozen=True)
class Meaning:
    """What a name stands for.

    Attributes:
        what: `place`, `kind` where it names very many places, or `nothing`.
        kind: The kind of thing, or empty.
    """

    what: Literal["place", "kind", "nothing"]
    kind: str = ""


def meaning(name: str | None, *, regions: Iterable[str], known: bool = False) -> Meaning:
    """Decide what a name stands for.

    Args:
        name: As the label list has it; None where it has no name.
        regions: In which regions of the world it occurs.
        known: Whether a gazetteer has a place of this name in one of the regions.
    """
    words = folded_words(name or "")
    if not words or " ".join(words) in NOT_A_PLACE:
        return Meaning("nothing")
    kind = _kind(words)
    saint = any(word in _SAINTS for word in words)
    generic = (kind or saint) and all(word in _SAINTS or word in _LITTLE or word in _KIND_OF for word in words)
    spread = len(set(regions))
    if generic and (not known or spread > 2 or len(words) == 1):
        return Meaning("kind", kind or "church")
    # The same words on three continents, or on two that do not touch, are not one place.
    if spread > 2 or (spread == 2 and frozenset(regions) not in _NEIGHBOURS):
        return Meaning("kind", kind)
    return Meaning("place", kind)


def _kind(words: list[str]) -> str:
    """The kind that a name speaks of: of its last word, as in "Castle Bridge", else of its first such words."""
    found = [_KIND_OF[word] for word in [words[-1], *_pairs(words), *words] if word in _KIND_OF]
    return found[0] if found else ""


def folded_words(name: str) -> list[str]:
    """Return the words of a name without case and accents, and with `St.` and `Mt.` written out."""
    plain = unicodedata.normalize("NFKD", name.casefold().replace("ß", "ss").replace("ł", "l").replace("ø", "o"))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    words = _WORD.findall(letters.replace("'s", "").replace("’s", ""))
    return [_SHORT.get(word, word) for word in words]


def _pairs(words: list[str]) -> Iterable[str]:
    yield from ("_".join(words[start : start + 3]) for start in range(len(words) - 2))
    yield from ("_".join(words[start : start + 2]) for start in range(len(words) - 1))


def _by_word() -> Mapping[str, str]:
    return {word: kind for kind, words in _KINDS.items() for word in words.split()}


_KIND_OF = _by_word()


REGIONS = ("africa", "asia", "europe", "north_america", "oceania", "south_america")

_COUNTRIES = {
    "africa": "DZ AO BJ BW BF BI CV CM CF TD KM CG CD CI DJ EG GQ ER SZ ET GA GM GH GN GW KE LS LR LY MG MW ML MR MU YT MA"
    " MZ NA NE NG RE RW ST SN SC SL SO ZA SS SD TZ TG TN UG EH ZM ZW SH",
    "asia": "AF AM AZ BH BD BT BN KH CN CY GE HK IN ID IR IQ IL JP JO KZ KW KG LA LB MO MY MV MN MM NP KP OM PK PS PH QA RU"
    " SA SG KR LK SY TW TJ TH TL TR TM AE UZ VN YE EG",
    "europe": "AL AD AT BY BE BA BG HR CY CZ DK EE FI FR DE GR HU IS IE IT XK LV LI LT LU MT MD MC ME NL MK NO PL PT RO RU"
    " SM RS SK SI ES SE CH TR UA GB VA AM GE AZ GI FO JE GG IM AX SJ GL",
    "north_america": "AG BS BB BZ BM CA CR CU DM DO SV GL GD GT HT HN JM MX NI PA KN LC VC TT US PR VI GP MQ AW CW SX KY TC"
    " VG AI MS BL MF",
    "oceania": "AU FJ KI MH FM NR NZ PW PG WS SB TO TV VU NC PF GU MP AS CK NU US",
    "south_america": "AR BO BR CL CO EC GY PY PE SR UY VE FK GF AQ GS TT",
}
_CODES = {region: frozenset(codes.split()) for region, codes in _COUNTRIES.items()}


def may_be_in(country_code: str, region: str) -> bool:
    """Tell whether a landmark of a country may be in the list of a region; a country at a border is in two."""
    return country_code in _CODES[region]
