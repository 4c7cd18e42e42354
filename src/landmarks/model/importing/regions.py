"""Which of the six regional lists a country's landmarks may be in."""

from __future__ import annotations

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
