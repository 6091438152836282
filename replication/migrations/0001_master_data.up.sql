-- Master data: what is the same in every region. Written in the hub, carried to the regions, and
-- there written by the applier only.
--
-- No trigger is part of this file, and no constraint asks anything of the server (its clock, its
-- time zone data, its locale): what the hub took, every region takes, whatever PostgreSQL it runs.
-- The lists of ISO and IANA stand in the constraints for that reason. A newer list is a migration,
-- and it goes to the regions before it goes to the hub.
--
-- Periods are given by their beginning. A row is valid until the next one of its key begins, so two
-- periods of a key cannot overlap: no writer could say it, however many write at once, and the
-- primary key refuses two that begin on one day. A row whose rate is null says "none from here on".
--
-- The days are dates, not instants: laws and reference rates hold for a calendar day where the
-- document is written. The text of a date, which is part of the key under which a row travels, does
-- not depend on a session's time zone either.
--
-- A rate is a numeric without a declared scale, and a check bounds it: numeric(p, s) would round
-- what does not fit and say nothing. The bounds also refuse NaN and infinity, which are above all
-- numbers.
--
-- The foreign keys are the hub's: a region drops them (sql/region.sql says why). They are deferrable, so
-- that a transaction may write in any order; they are immediate unless it defers them.
--
-- The name of each constraint is its table, then the column to blame, then the rest: an error names
-- the field by it.

create function smp_global.is_locale(candidate text) returns boolean
    language sql immutable parallel safe
    return octet_length(candidate) <= 35
        and candidate ~ ('^[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?'
                         '(-([a-z0-9]{5,8}|[0-9][a-z0-9]{3}))*$')
        -- No variant twice. Two of them need twelve octets; without asking, it costs a bulk load a
        -- tenth.
        and (octet_length(candidate) < 12 or candidate !~ '-([a-z0-9]{4,8})-(.*-)?\1(-|$)');
comment on function smp_global.is_locale(text) is
    'Whether it is a BCP 47 tag of language, script, region and variants, well-formed and spelt '
    'as RFC 5646 section 2.1.1 recommends. 35 octets are what its section 4.4.1 asks systems to '
    'hold. No extensions, no private use: these name preferences, not texts.';

create function smp_global.is_label(candidate text, max_octets integer) returns boolean
    language sql immutable parallel safe
    return octet_length(candidate) between 1 and max_octets
        and candidate is nfc normalized
        and candidate !~ '[\u0001-\u001f\u007f-\u009f]'
        and candidate !~ '^[ \u00a0\u3000]|[ \u00a0\u3000]$';
comment on function smp_global.is_label(text, integer) is
    'Whether it is a line of text as people read it: composed (NFC, so that Vietnamese is spelt '
    'in one way only), without control characters, and without spaces around it.';

create table smp_global.currencies (
    code            text        primary key check (code ~ '^[A-Z]{3}$'),
    numeric_code    text        not null,
    name            text        not null check (smp_global.is_label(name, 128)),
    minor_units     smallint    not null,
    cash_increment  numeric
        -- 0.05 with thirty zeros behind it is 0.05, and more than a reader's decimals may hold.
        check (cash_increment > 0 and cash_increment <= 1000000 and scale(cash_increment) <= 6),
    symbol          text        not null check (smp_global.is_label(symbol, 16)),
    is_active       boolean     not null default true,
    row_version     bigint      not null default 0 check (row_version >= 0),
    updated_at      timestamptz not null default now(),
    constraint currencies_cash_increment_is_whole_minor_units
        check (min_scale(cash_increment) <= minor_units),
    -- ISO 4217, list one, published 2026-01-01: code, number, minor units. All 165 that have minor
    -- units; the 13 that have none (gold, the code for tests, ...) are no money to pay in.
    -- A number or units of another currency are refused here too, and blamed on the code.
    constraint currencies_code_is_iso_4217
        check (code || ' ' || numeric_code || ' ' || minor_units::text in (
            'AED 784 2', 'AFN 971 2', 'ALL 008 2', 'AMD 051 2', 'AOA 973 2', 'ARS 032 2',
            'AUD 036 2', 'AWG 533 2', 'AZN 944 2', 'BAM 977 2', 'BBD 052 2', 'BDT 050 2',
            'BHD 048 3', 'BIF 108 0', 'BMD 060 2', 'BND 096 2', 'BOB 068 2', 'BOV 984 2',
            'BRL 986 2', 'BSD 044 2', 'BTN 064 2', 'BWP 072 2', 'BYN 933 2', 'BZD 084 2',
            'CAD 124 2', 'CDF 976 2', 'CHE 947 2', 'CHF 756 2', 'CHW 948 2', 'CLF 990 4',
            'CLP 152 0', 'CNY 156 2', 'COP 170 2', 'COU 970 2', 'CRC 188 2', 'CUP 192 2',
            'CVE 132 2', 'CZK 203 2', 'DJF 262 0', 'DKK 208 2', 'DOP 214 2', 'DZD 012 2',
            'EGP 818 2', 'ERN 232 2', 'ETB 230 2', 'EUR 978 2', 'FJD 242 2', 'FKP 238 2',
            'GBP 826 2', 'GEL 981 2', 'GHS 936 2', 'GIP 292 2', 'GMD 270 2', 'GNF 324 0',
            'GTQ 320 2', 'GYD 328 2', 'HKD 344 2', 'HNL 340 2', 'HTG 332 2', 'HUF 348 2',
            'IDR 360 2', 'ILS 376 2', 'INR 356 2', 'IQD 368 3', 'IRR 364 2', 'ISK 352 0',
            'JMD 388 2', 'JOD 400 3', 'JPY 392 0', 'KES 404 2', 'KGS 417 2', 'KHR 116 2',
            'KMF 174 0', 'KPW 408 2', 'KRW 410 0', 'KWD 414 3', 'KYD 136 2', 'KZT 398 2',
            'LAK 418 2', 'LBP 422 2', 'LKR 144 2', 'LRD 430 2', 'LSL 426 2', 'LYD 434 3',
            'MAD 504 2', 'MDL 498 2', 'MGA 969 2', 'MKD 807 2', 'MMK 104 2', 'MNT 496 2',
            'MOP 446 2', 'MRU 929 2', 'MUR 480 2', 'MVR 462 2', 'MWK 454 2', 'MXN 484 2',
            'MXV 979 2', 'MYR 458 2', 'MZN 943 2', 'NAD 516 2', 'NGN 566 2', 'NIO 558 2',
            'NOK 578 2', 'NPR 524 2', 'NZD 554 2', 'OMR 512 3', 'PAB 590 2', 'PEN 604 2',
            'PGK 598 2', 'PHP 608 2', 'PKR 586 2', 'PLN 985 2', 'PYG 600 0', 'QAR 634 2',
            'RON 946 2', 'RSD 941 2', 'RUB 643 2', 'RWF 646 0', 'SAR 682 2', 'SBD 090 2',
            'SCR 690 2', 'SDG 938 2', 'SEK 752 2', 'SGD 702 2', 'SHP 654 2', 'SLE 925 2',
            'SOS 706 2', 'SRD 968 2', 'SSP 728 2', 'STN 930 2', 'SVC 222 2', 'SYP 760 2',
            'SZL 748 2', 'THB 764 2', 'TJS 972 2', 'TMT 934 2', 'TND 788 3', 'TOP 776 2',
            'TRY 949 2', 'TTD 780 2', 'TWD 901 2', 'TZS 834 2', 'UAH 980 2', 'UGX 800 0',
            'USD 840 2', 'USN 997 2', 'UYI 940 0', 'UYU 858 2', 'UYW 927 4', 'UZS 860 2',
            'VED 926 2', 'VES 928 2', 'VND 704 0', 'VUV 548 0', 'WST 882 2', 'XAD 396 2',
            'XAF 950 0', 'XCD 951 2', 'XCG 532 2', 'XOF 952 0', 'XPF 953 0', 'YER 886 2',
            'ZAR 710 2', 'ZMW 967 2', 'ZWG 924 2'
        ))
);

comment on table smp_global.currencies is
    'Currencies of ISO 4217: what an amount may be in, and how it is rounded.';
comment on column smp_global.currencies.code is 'ISO 4217 alphabetic.';
comment on column smp_global.currencies.numeric_code is 'ISO 4217 numeric, with its leading zeros.';
comment on column smp_global.currencies.name is 'In English, as ISO 4217 has it.';
comment on column smp_global.currencies.minor_units is
    'Decimal places of an amount, as ISO 4217 has it: 0 for VND and JPY. A conversion is rounded '
    'to it.';
comment on column smp_global.currencies.cash_increment is
    'To what an amount is rounded when it is paid in cash, in units of the currency: 0.05 for '
    'MYR. Null: to the minor unit.';
comment on column smp_global.currencies.symbol is 'As written beside an amount.';
comment on column smp_global.currencies.is_active is
    'Whether it is offered for new entries. What refers to it stays valid.';
comment on column smp_global.currencies.row_version is
    'Set in the hub, rises with each change of the row.';
comment on column smp_global.currencies.updated_at is 'When it was changed, by the hub''s clock.';

create table smp_global.countries (
    code             text        primary key check (code ~ '^[A-Z]{2}$'),
    alpha3           text        not null,
    numeric_code     text        not null,
    name             text        not null check (smp_global.is_label(name, 128)),
    default_currency text        not null
        references smp_global.currencies (code) deferrable initially immediate,
    default_locale   text        not null check (smp_global.is_locale(default_locale)),
    time_zones       text[]      not null,
    calling_code     text        not null check (calling_code ~ '^[1-9][0-9]{0,2}$'),
    is_active        boolean     not null default true,
    row_version      bigint      not null default 0 check (row_version >= 0),
    updated_at       timestamptz not null default now(),
    constraint countries_time_zones_is_a_list check (
        cardinality(time_zones) between 1 and 64
        and array_ndims(time_zones) = 1
        and array_lower(time_zones, 1) = 1
    ),
    -- ISO 3166-1, all 249 countries and areas: alpha-2, alpha-3, numeric. Not what it reserves (UK,
    -- EU) or leaves to its users (XK).
    constraint countries_code_is_iso_3166_1
        check (code || ' ' || alpha3 || ' ' || numeric_code in (
            'AD AND 020', 'AE ARE 784', 'AF AFG 004', 'AG ATG 028', 'AI AIA 660', 'AL ALB 008',
            'AM ARM 051', 'AO AGO 024', 'AQ ATA 010', 'AR ARG 032', 'AS ASM 016', 'AT AUT 040',
            'AU AUS 036', 'AW ABW 533', 'AX ALA 248', 'AZ AZE 031', 'BA BIH 070', 'BB BRB 052',
            'BD BGD 050', 'BE BEL 056', 'BF BFA 854', 'BG BGR 100', 'BH BHR 048', 'BI BDI 108',
            'BJ BEN 204', 'BL BLM 652', 'BM BMU 060', 'BN BRN 096', 'BO BOL 068', 'BQ BES 535',
            'BR BRA 076', 'BS BHS 044', 'BT BTN 064', 'BV BVT 074', 'BW BWA 072', 'BY BLR 112',
            'BZ BLZ 084', 'CA CAN 124', 'CC CCK 166', 'CD COD 180', 'CF CAF 140', 'CG COG 178',
            'CH CHE 756', 'CI CIV 384', 'CK COK 184', 'CL CHL 152', 'CM CMR 120', 'CN CHN 156',
            'CO COL 170', 'CR CRI 188', 'CU CUB 192', 'CV CPV 132', 'CW CUW 531', 'CX CXR 162',
            'CY CYP 196', 'CZ CZE 203', 'DE DEU 276', 'DJ DJI 262', 'DK DNK 208', 'DM DMA 212',
            'DO DOM 214', 'DZ DZA 012', 'EC ECU 218', 'EE EST 233', 'EG EGY 818', 'EH ESH 732',
            'ER ERI 232', 'ES ESP 724', 'ET ETH 231', 'FI FIN 246', 'FJ FJI 242', 'FK FLK 238',
            'FM FSM 583', 'FO FRO 234', 'FR FRA 250', 'GA GAB 266', 'GB GBR 826', 'GD GRD 308',
            'GE GEO 268', 'GF GUF 254', 'GG GGY 831', 'GH GHA 288', 'GI GIB 292', 'GL GRL 304',
            'GM GMB 270', 'GN GIN 324', 'GP GLP 312', 'GQ GNQ 226', 'GR GRC 300', 'GS SGS 239',
            'GT GTM 320', 'GU GUM 316', 'GW GNB 624', 'GY GUY 328', 'HK HKG 344', 'HM HMD 334',
            'HN HND 340', 'HR HRV 191', 'HT HTI 332', 'HU HUN 348', 'ID IDN 360', 'IE IRL 372',
            'IL ISR 376', 'IM IMN 833', 'IN IND 356', 'IO IOT 086', 'IQ IRQ 368', 'IR IRN 364',
            'IS ISL 352', 'IT ITA 380', 'JE JEY 832', 'JM JAM 388', 'JO JOR 400', 'JP JPN 392',
            'KE KEN 404', 'KG KGZ 417', 'KH KHM 116', 'KI KIR 296', 'KM COM 174', 'KN KNA 659',
            'KP PRK 408', 'KR KOR 410', 'KW KWT 414', 'KY CYM 136', 'KZ KAZ 398', 'LA LAO 418',
            'LB LBN 422', 'LC LCA 662', 'LI LIE 438', 'LK LKA 144', 'LR LBR 430', 'LS LSO 426',
            'LT LTU 440', 'LU LUX 442', 'LV LVA 428', 'LY LBY 434', 'MA MAR 504', 'MC MCO 492',
            'MD MDA 498', 'ME MNE 499', 'MF MAF 663', 'MG MDG 450', 'MH MHL 584', 'MK MKD 807',
            'ML MLI 466', 'MM MMR 104', 'MN MNG 496', 'MO MAC 446', 'MP MNP 580', 'MQ MTQ 474',
            'MR MRT 478', 'MS MSR 500', 'MT MLT 470', 'MU MUS 480', 'MV MDV 462', 'MW MWI 454',
            'MX MEX 484', 'MY MYS 458', 'MZ MOZ 508', 'NA NAM 516', 'NC NCL 540', 'NE NER 562',
            'NF NFK 574', 'NG NGA 566', 'NI NIC 558', 'NL NLD 528', 'NO NOR 578', 'NP NPL 524',
            'NR NRU 520', 'NU NIU 570', 'NZ NZL 554', 'OM OMN 512', 'PA PAN 591', 'PE PER 604',
            'PF PYF 258', 'PG PNG 598', 'PH PHL 608', 'PK PAK 586', 'PL POL 616', 'PM SPM 666',
            'PN PCN 612', 'PR PRI 630', 'PS PSE 275', 'PT PRT 620', 'PW PLW 585', 'PY PRY 600',
            'QA QAT 634', 'RE REU 638', 'RO ROU 642', 'RS SRB 688', 'RU RUS 643', 'RW RWA 646',
            'SA SAU 682', 'SB SLB 090', 'SC SYC 690', 'SD SDN 729', 'SE SWE 752', 'SG SGP 702',
            'SH SHN 654', 'SI SVN 705', 'SJ SJM 744', 'SK SVK 703', 'SL SLE 694', 'SM SMR 674',
            'SN SEN 686', 'SO SOM 706', 'SR SUR 740', 'SS SSD 728', 'ST STP 678', 'SV SLV 222',
            'SX SXM 534', 'SY SYR 760', 'SZ SWZ 748', 'TC TCA 796', 'TD TCD 148', 'TF ATF 260',
            'TG TGO 768', 'TH THA 764', 'TJ TJK 762', 'TK TKL 772', 'TL TLS 626', 'TM TKM 795',
            'TN TUN 788', 'TO TON 776', 'TR TUR 792', 'TT TTO 780', 'TV TUV 798', 'TW TWN 158',
            'TZ TZA 834', 'UA UKR 804', 'UG UGA 800', 'UM UMI 581', 'US USA 840', 'UY URY 858',
            'UZ UZB 860', 'VA VAT 336', 'VC VCT 670', 'VE VEN 862', 'VG VGB 092', 'VI VIR 850',
            'VN VNM 704', 'VU VUT 548', 'WF WLF 876', 'WS WSM 882', 'YE YEM 887', 'YT MYT 175',
            'ZA ZAF 710', 'ZM ZMB 894', 'ZW ZWE 716'
        )),
    -- IANA 2026f, zone.tab, all 418: the zones that lie in a country. Not the old names
    -- (Asia/Saigon), which some systems do not install, nor fixed offsets (Etc/GMT-7), which know
    -- no change of law.
    constraint countries_time_zones_are_iana
        check (time_zones <@ array[
            'Africa/Abidjan', 'Africa/Accra', 'Africa/Addis_Ababa', 'Africa/Algiers',
            'Africa/Asmara', 'Africa/Bamako', 'Africa/Bangui', 'Africa/Banjul', 'Africa/Bissau',
            'Africa/Blantyre', 'Africa/Brazzaville', 'Africa/Bujumbura', 'Africa/Cairo',
            'Africa/Casablanca', 'Africa/Ceuta', 'Africa/Conakry', 'Africa/Dakar',
            'Africa/Dar_es_Salaam', 'Africa/Djibouti', 'Africa/Douala', 'Africa/El_Aaiun',
            'Africa/Freetown', 'Africa/Gaborone', 'Africa/Harare', 'Africa/Johannesburg',
            'Africa/Juba', 'Africa/Kampala', 'Africa/Khartoum', 'Africa/Kigali', 'Africa/Kinshasa',
            'Africa/Lagos', 'Africa/Libreville', 'Africa/Lome', 'Africa/Luanda',
            'Africa/Lubumbashi', 'Africa/Lusaka', 'Africa/Malabo', 'Africa/Maputo', 'Africa/Maseru',
            'Africa/Mbabane', 'Africa/Mogadishu', 'Africa/Monrovia', 'Africa/Nairobi',
            'Africa/Ndjamena', 'Africa/Niamey', 'Africa/Nouakchott', 'Africa/Ouagadougou',
            'Africa/Porto-Novo', 'Africa/Sao_Tome', 'Africa/Tripoli', 'Africa/Tunis',
            'Africa/Windhoek', 'America/Adak', 'America/Anchorage', 'America/Anguilla',
            'America/Antigua', 'America/Araguaina', 'America/Argentina/Buenos_Aires',
            'America/Argentina/Catamarca', 'America/Argentina/Cordoba', 'America/Argentina/Jujuy',
            'America/Argentina/La_Rioja', 'America/Argentina/Mendoza',
            'America/Argentina/Rio_Gallegos', 'America/Argentina/Salta',
            'America/Argentina/San_Juan', 'America/Argentina/San_Luis', 'America/Argentina/Tucuman',
            'America/Argentina/Ushuaia', 'America/Aruba', 'America/Asuncion', 'America/Atikokan',
            'America/Bahia', 'America/Bahia_Banderas', 'America/Barbados', 'America/Belem',
            'America/Belize', 'America/Blanc-Sablon', 'America/Boa_Vista', 'America/Bogota',
            'America/Boise', 'America/Cambridge_Bay', 'America/Campo_Grande', 'America/Cancun',
            'America/Caracas', 'America/Cayenne', 'America/Cayman', 'America/Chicago',
            'America/Chihuahua', 'America/Ciudad_Juarez', 'America/Costa_Rica', 'America/Coyhaique',
            'America/Creston', 'America/Cuiaba', 'America/Curacao', 'America/Danmarkshavn',
            'America/Dawson', 'America/Dawson_Creek', 'America/Denver', 'America/Detroit',
            'America/Dominica', 'America/Edmonton', 'America/Eirunepe', 'America/El_Salvador',
            'America/Fort_Nelson', 'America/Fortaleza', 'America/Glace_Bay', 'America/Goose_Bay',
            'America/Grand_Turk', 'America/Grenada', 'America/Guadeloupe', 'America/Guatemala',
            'America/Guayaquil', 'America/Guyana', 'America/Halifax', 'America/Havana',
            'America/Hermosillo', 'America/Indiana/Indianapolis', 'America/Indiana/Knox',
            'America/Indiana/Marengo', 'America/Indiana/Petersburg', 'America/Indiana/Tell_City',
            'America/Indiana/Vevay', 'America/Indiana/Vincennes', 'America/Indiana/Winamac',
            'America/Inuvik', 'America/Iqaluit', 'America/Jamaica', 'America/Juneau',
            'America/Kentucky/Louisville', 'America/Kentucky/Monticello', 'America/Kralendijk',
            'America/La_Paz', 'America/Lima', 'America/Los_Angeles', 'America/Lower_Princes',
            'America/Maceio', 'America/Managua', 'America/Manaus', 'America/Marigot',
            'America/Martinique', 'America/Matamoros', 'America/Mazatlan', 'America/Menominee',
            'America/Merida', 'America/Metlakatla', 'America/Mexico_City', 'America/Miquelon',
            'America/Moncton', 'America/Monterrey', 'America/Montevideo', 'America/Montserrat',
            'America/Nassau', 'America/New_York', 'America/Nome', 'America/Noronha',
            'America/North_Dakota/Beulah', 'America/North_Dakota/Center',
            'America/North_Dakota/New_Salem', 'America/Nuuk', 'America/Ojinaga', 'America/Panama',
            'America/Paramaribo', 'America/Phoenix', 'America/Port-au-Prince',
            'America/Port_of_Spain', 'America/Porto_Velho', 'America/Puerto_Rico',
            'America/Punta_Arenas', 'America/Rankin_Inlet', 'America/Recife', 'America/Regina',
            'America/Resolute', 'America/Rio_Branco', 'America/Santarem', 'America/Santiago',
            'America/Santo_Domingo', 'America/Sao_Paulo', 'America/Scoresbysund', 'America/Sitka',
            'America/St_Barthelemy', 'America/St_Johns', 'America/St_Kitts', 'America/St_Lucia',
            'America/St_Thomas', 'America/St_Vincent', 'America/Swift_Current',
            'America/Tegucigalpa', 'America/Thule', 'America/Tijuana', 'America/Toronto',
            'America/Tortola', 'America/Vancouver', 'America/Whitehorse', 'America/Winnipeg',
            'America/Yakutat', 'Antarctica/Casey', 'Antarctica/Davis', 'Antarctica/DumontDUrville',
            'Antarctica/Macquarie', 'Antarctica/Mawson', 'Antarctica/McMurdo', 'Antarctica/Palmer',
            'Antarctica/Rothera', 'Antarctica/Syowa', 'Antarctica/Troll', 'Antarctica/Vostok',
            'Arctic/Longyearbyen', 'Asia/Aden', 'Asia/Almaty', 'Asia/Amman', 'Asia/Anadyr',
            'Asia/Aqtau', 'Asia/Aqtobe', 'Asia/Ashgabat', 'Asia/Atyrau', 'Asia/Baghdad',
            'Asia/Bahrain', 'Asia/Baku', 'Asia/Bangkok', 'Asia/Barnaul', 'Asia/Beirut',
            'Asia/Bishkek', 'Asia/Brunei', 'Asia/Chita', 'Asia/Colombo', 'Asia/Damascus',
            'Asia/Dhaka', 'Asia/Dili', 'Asia/Dubai', 'Asia/Dushanbe', 'Asia/Famagusta', 'Asia/Gaza',
            'Asia/Hebron', 'Asia/Ho_Chi_Minh', 'Asia/Hong_Kong', 'Asia/Hovd', 'Asia/Irkutsk',
            'Asia/Jakarta', 'Asia/Jayapura', 'Asia/Jerusalem', 'Asia/Kabul', 'Asia/Kamchatka',
            'Asia/Karachi', 'Asia/Kathmandu', 'Asia/Khandyga', 'Asia/Kolkata', 'Asia/Krasnoyarsk',
            'Asia/Kuala_Lumpur', 'Asia/Kuching', 'Asia/Kuwait', 'Asia/Macau', 'Asia/Magadan',
            'Asia/Makassar', 'Asia/Manila', 'Asia/Muscat', 'Asia/Nicosia', 'Asia/Novokuznetsk',
            'Asia/Novosibirsk', 'Asia/Omsk', 'Asia/Oral', 'Asia/Phnom_Penh', 'Asia/Pontianak',
            'Asia/Pyongyang', 'Asia/Qatar', 'Asia/Qostanay', 'Asia/Qyzylorda', 'Asia/Riyadh',
            'Asia/Sakhalin', 'Asia/Samarkand', 'Asia/Seoul', 'Asia/Shanghai', 'Asia/Singapore',
            'Asia/Srednekolymsk', 'Asia/Taipei', 'Asia/Tashkent', 'Asia/Tbilisi', 'Asia/Tehran',
            'Asia/Thimphu', 'Asia/Tokyo', 'Asia/Tomsk', 'Asia/Ulaanbaatar', 'Asia/Urumqi',
            'Asia/Ust-Nera', 'Asia/Vientiane', 'Asia/Vladivostok', 'Asia/Yakutsk', 'Asia/Yangon',
            'Asia/Yekaterinburg', 'Asia/Yerevan', 'Atlantic/Azores', 'Atlantic/Bermuda',
            'Atlantic/Canary', 'Atlantic/Cape_Verde', 'Atlantic/Faroe', 'Atlantic/Madeira',
            'Atlantic/Reykjavik', 'Atlantic/South_Georgia', 'Atlantic/St_Helena',
            'Atlantic/Stanley', 'Australia/Adelaide', 'Australia/Brisbane', 'Australia/Broken_Hill',
            'Australia/Darwin', 'Australia/Eucla', 'Australia/Hobart', 'Australia/Lindeman',
            'Australia/Lord_Howe', 'Australia/Melbourne', 'Australia/Perth', 'Australia/Sydney',
            'Europe/Amsterdam', 'Europe/Andorra', 'Europe/Astrakhan', 'Europe/Athens',
            'Europe/Belgrade', 'Europe/Berlin', 'Europe/Bratislava', 'Europe/Brussels',
            'Europe/Bucharest', 'Europe/Budapest', 'Europe/Busingen', 'Europe/Chisinau',
            'Europe/Copenhagen', 'Europe/Dublin', 'Europe/Gibraltar', 'Europe/Guernsey',
            'Europe/Helsinki', 'Europe/Isle_of_Man', 'Europe/Istanbul', 'Europe/Jersey',
            'Europe/Kaliningrad', 'Europe/Kirov', 'Europe/Kyiv', 'Europe/Lisbon',
            'Europe/Ljubljana', 'Europe/London', 'Europe/Luxembourg', 'Europe/Madrid',
            'Europe/Malta', 'Europe/Mariehamn', 'Europe/Minsk', 'Europe/Monaco', 'Europe/Moscow',
            'Europe/Oslo', 'Europe/Paris', 'Europe/Podgorica', 'Europe/Prague', 'Europe/Riga',
            'Europe/Rome', 'Europe/Samara', 'Europe/San_Marino', 'Europe/Sarajevo',
            'Europe/Saratov', 'Europe/Simferopol', 'Europe/Skopje', 'Europe/Sofia',
            'Europe/Stockholm', 'Europe/Tallinn', 'Europe/Tirane', 'Europe/Ulyanovsk',
            'Europe/Vaduz', 'Europe/Vatican', 'Europe/Vienna', 'Europe/Vilnius', 'Europe/Volgograd',
            'Europe/Warsaw', 'Europe/Zagreb', 'Europe/Zurich', 'Indian/Antananarivo',
            'Indian/Chagos', 'Indian/Christmas', 'Indian/Cocos', 'Indian/Comoro',
            'Indian/Kerguelen', 'Indian/Mahe', 'Indian/Maldives', 'Indian/Mauritius',
            'Indian/Mayotte', 'Indian/Reunion', 'Pacific/Apia', 'Pacific/Auckland',
            'Pacific/Bougainville', 'Pacific/Chatham', 'Pacific/Chuuk', 'Pacific/Easter',
            'Pacific/Efate', 'Pacific/Fakaofo', 'Pacific/Fiji', 'Pacific/Funafuti',
            'Pacific/Galapagos', 'Pacific/Gambier', 'Pacific/Guadalcanal', 'Pacific/Guam',
            'Pacific/Honolulu', 'Pacific/Kanton', 'Pacific/Kiritimati', 'Pacific/Kosrae',
            'Pacific/Kwajalein', 'Pacific/Majuro', 'Pacific/Marquesas', 'Pacific/Midway',
            'Pacific/Nauru', 'Pacific/Niue', 'Pacific/Norfolk', 'Pacific/Noumea',
            'Pacific/Pago_Pago', 'Pacific/Palau', 'Pacific/Pitcairn', 'Pacific/Pohnpei',
            'Pacific/Port_Moresby', 'Pacific/Rarotonga', 'Pacific/Saipan', 'Pacific/Tahiti',
            'Pacific/Tarawa', 'Pacific/Tongatapu', 'Pacific/Wake', 'Pacific/Wallis'
        ])
);

comment on table smp_global.countries is
    'Countries and areas of ISO 3166-1, and what is usual there.';
comment on column smp_global.countries.code is 'ISO 3166-1 alpha-2.';
comment on column smp_global.countries.alpha3 is 'ISO 3166-1 alpha-3.';
comment on column smp_global.countries.numeric_code is
    'ISO 3166-1 numeric, with its leading zeros.';
comment on column smp_global.countries.name is 'Short name in English.';
comment on column smp_global.countries.default_currency is
    'In what prices are given, unless something says otherwise.';
comment on column smp_global.countries.default_locale is
    'BCP 47. The language of a user who has not chosen one.';
comment on column smp_global.countries.time_zones is
    'IANA names of the zones in the country. The first is the default.';
comment on column smp_global.countries.calling_code is 'Country code of ITU-T E.164, without "+".';
comment on column smp_global.countries.is_active is
    'Whether it is offered for new entries. What refers to it stays valid.';
comment on column smp_global.countries.row_version is
    'Set in the hub, rises with each change of the row.';
comment on column smp_global.countries.updated_at is 'When it was changed, by the hub''s clock.';

create table smp_global.currency_rates (
    base        text        not null
        references smp_global.currencies (code) deferrable initially immediate,
    quote       text        not null
        references smp_global.currencies (code) deferrable initially immediate,
    valid_from  date        not null
        check (valid_from between date '1900-01-01' and date '2999-12-31'),
    -- At most 27 digits: a decimal of 96 bits holds any 28.
    rate        numeric     check (rate > 0 and rate < 1000000000 and scale(rate) <= 18),
    source      text        not null
        check (octet_length(source) <= 64 and source ~ '^[a-z0-9][a-z0-9_.:-]*$'),
    row_version bigint      not null default 0 check (row_version >= 0),
    updated_at  timestamptz not null default now(),
    primary key (base, quote, valid_from),
    constraint currency_rates_quote_is_not_base check (base <> quote)
);

comment on table smp_global.currency_rates is
    'What a currency is worth in another, from a day on until the next row of the pair begins. '
    'Both directions of a pair are rows of their own, so that no reader divides.';
comment on column smp_global.currency_rates.base is 'The currency that is converted from.';
comment on column smp_global.currency_rates.quote is 'The currency that is converted to.';
comment on column smp_global.currency_rates.valid_from is
    'First day of the rate, by the calendar of the document that is converted.';
comment on column smp_global.currency_rates.rate is
    'So many of quote for one of base, exactly. Null: none from this day on.';
comment on column smp_global.currency_rates.source is
    'Who said so: "seed" is this project''s sample, not a quotation of any day.';
comment on column smp_global.currency_rates.row_version is
    'Set in the hub, rises with each change of the row.';
comment on column smp_global.currency_rates.updated_at is
    'When it was changed, by the hub''s clock.';

create table smp_global.tax_configs (
    country     text        not null
        references smp_global.countries (code) deferrable initially immediate,
    kind        text        not null
        check (octet_length(kind) <= 32 and kind ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'),
    category    text        not null
        check (octet_length(category) <= 64 and category ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'),
    valid_from  date        not null
        check (valid_from between date '1900-01-01' and date '2999-12-31'),
    rate        numeric     check (rate >= 0 and rate < 1 and scale(rate) <= 6),
    note        text        check (smp_global.is_label(note, 1024)),
    row_version bigint      not null default 0 check (row_version >= 0),
    updated_at  timestamptz not null default now(),
    primary key (country, kind, category, valid_from)
);

comment on table smp_global.tax_configs is
    'Rates of tax by country, from a day on until the next row of the same category begins.';
comment on column smp_global.tax_configs.country is 'ISO 3166-1 alpha-2.';
comment on column smp_global.tax_configs.kind is 'Which tax: vat, cit (on companies'' income), ...';
comment on column smp_global.tax_configs.category is
    'Which of the tax''s rates: standard, reduced, zero, ... A category without a rate on a day '
    'is not in force then; what would fall under it falls under standard.';
comment on column smp_global.tax_configs.valid_from is
    'First day of the rate, by the calendar of the country.';
comment on column smp_global.tax_configs.rate is
    'Part of the taxed amount: 0.08 is 8 %. Below 1, so that a percentage written by mistake is '
    'refused. Null: none from this day on.';
comment on column smp_global.tax_configs.note is 'The law, and what else to know, in English.';
comment on column smp_global.tax_configs.row_version is
    'Set in the hub, rises with each change of the row.';
comment on column smp_global.tax_configs.updated_at is 'When it was changed, by the hub''s clock.';

create table smp_global.i18n_translations (
    locale      text        not null check (smp_global.is_locale(locale)),
    namespace   text        not null
        check (octet_length(namespace) <= 64 and namespace ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*$'),
    key         text        not null
        check (octet_length(key) <= 128
               and key ~ '^[a-z][a-z0-9]*(_[a-z0-9]+)*([.][a-z0-9]+(_[a-z0-9]+)*)*$'),
    text        text        not null check (octet_length(text) between 1 and 8192),
    row_version bigint      not null default 0 check (row_version >= 0),
    updated_at  timestamptz not null default now(),
    primary key (locale, namespace, key),
    constraint i18n_translations_text_is_composed check (text is nfc normalized),
    -- A line feed is the only one that a text needs.
    constraint i18n_translations_text_has_no_control_character
        check (text !~ '[\u0001-\u0009\u000b-\u001f\u007f-\u009f]')
)
-- A restate changes every row. With room for each row's next version on its page, the index stays as it is.
with (fillfactor = 50);

comment on table smp_global.i18n_translations is
    'The interface''s texts. Where a locale lacks one, that of its language is shown, then the '
    'English.';
comment on column smp_global.i18n_translations.locale is
    'BCP 47. "zh" is written in simplified characters.';
comment on column smp_global.i18n_translations.namespace is 'The part of the interface.';
comment on column smp_global.i18n_translations.key is
    'Which text, the same in all locales; dots group.';
comment on column smp_global.i18n_translations.text is
    'As shown. {name} stands for a value, and each locale has the same ones. Never empty: a text '
    'that is missing is a row that is missing.';
comment on column smp_global.i18n_translations.row_version is
    'Set in the hub, rises with each change of the row.';
comment on column smp_global.i18n_translations.updated_at is
    'When it was changed, by the hub''s clock.';
