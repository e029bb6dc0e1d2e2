"""What shops, trackers and public data sets call columns, events, tables and things that are no goods.

Names are written without spaces, underscores, accents and capitals. In a list of names, the first ones fit best.
"""

from typing import Final

from recsys.schema import (
    AVAILABLE,
    BRAND,
    CART,
    CATEGORY,
    CLICK,
    CREATED_AT,
    EVENT,
    EVENT_ID,
    IP,
    ITEM_ID,
    PRICE,
    PURCHASE,
    QUANTITY,
    RATING,
    REFUND,
    SESSION_ID,
    STOCK,
    TEXT,
    TIMESTAMP,
    TITLE,
    USER_AGENT,
    USER_ID,
    VALID_FROM,
    VALID_UNTIL,
    VALUE,
    VIEW,
)

ORDER_ID: Final = "order_id"
STATUS: Final = "status"
RETURNED: Final = "returned"
TIME_OF_DAY: Final = "time_of_day"
TOTAL: Final = "total"
CURRENCY: Final = "currency"

COLUMN_NAMES: Final = {
    USER_ID: """userid customerid customer user customerno customernumber custid custno clientid client
        visitorid visitor memberid member shopperid buyerid householdid accountid reviewerid uid userpseudoid
        fullvisitorid email customeremail useremail kundenid kundennr kundennummer kunde kundeid besucherid
        benutzerid clienteid cliente idcliente idclient usuarioid usuario utilisateurid utilisateur acheteur
        comprador domainuserid anonymousid username cookieid deviceid""",
    ITEM_ID: """itemid productid item product sku itemsku productsku lineitemsku variantsku stockcode
        articleid articlecode article artid asin parentasin movieid bookid isbn goodsid offerid listingid upc ean
        gtin barcode pid iid skuid productcode itemcode productno itemno artikelnr artikelnummer artikelid artikel
        art produktid produkt produitid produit refproduit reference referencia productoid producto articulo
        articuloid idproducto codproducto idproduit idarticle codigo contentid variantid materialnumber""",
    EVENT: """eventtype event eventname action act actiontype behaviortype behaviour behavior type interaction
        interactiontype activity activitytype ereignis ereignistyp aktion typ evenement accion evento tipoevento""",
    TIMESTAMP: """timestamp eventtime eventtimestamp datetime time createdat ts orderdate invoicedate
        transactiontimestamp transactiondate transactiondt purchasedate orderedat placedat orderpurchasetimestamp
        purchasedat occurredat eventdate date orderts day created dateadded datecreated datecreatedgmt servertime
        derivedtstamp tdat processedat paidat invoicedat checkouttime unixreviewtime reviewdate visittime clicktime
        viewtime zeitpunkt zeitstempel bestelldatum kaufdatum datum rechnungsdatum belegdatum buchungsdatum fecha
        fechapedido fechacompra fechahora datecommande dateachat date heure horodatage updatedat""",
    TIME_OF_DAY: """timeframe timeofday uhrzeit zeit hora heure time ordertime transactiontime eventtimems
        timems hour hourofday""",
    PRICE: """price unitprice itemprice productprice saleprice salesprice sellingprice pricepaid
        lineitemprice variantprice basepriceprice baseprice regularprice listprice priceeur priceusd currentprice
        retailprice preis einzelpreis stueckpreis verkaufspreis vkpreis prix prixunitaire precio preciounitario
        preciounidad unitpricegbp""",
    TOTAL: """total linetotal totalprice amount salesvalue revenue netrevenue grossrevenue rowtotal
        subtotal sales turnover productnetrevenue summe gesamtpreis betrag umsatz montant montanttotal totalligne
        importe importetotal""",
    QUANTITY: """quantity qty itemquantity amount count units pieces qtyordered productqty lineitemquantity
        numitems menge anzahl stueck stueckzahl quantite qte cantidad unidades nombre""",
    VALUE: "rating stars overall score ratingvalue starrating bewertung note valoracion puntuacion",
    SESSION_ID: """sessionid session usersession visitid basketid cartid gasessionid sitzung sitzungid
        sesion idsession sesionid domainsessionid""",
    ORDER_ID: """orderid order ordernumber orderno invoiceno invoice invoiceid invoicenumber transactionid
        receiptid receiptno basketid checkoutid incrementid bestellnr bestellnummer bestellungid bestellid
        auftragsnr auftrag rechnungsnr belegnr bon bonnr commandeid commande numcommande idcommande numfacture
        pedido pedidoid idpedido numpedido factura numfactura""",
    EVENT_ID: """eventid lineid orderlineid orderitemid lineitemid messageid rowid uuid hitid logid
        positionid reviewid salesid""",
    STATUS: """status orderstatus financialstatus state orderstate paymentstatus zustand bestellstatus
        statut etat estado estadopedido""",
    RETURNED: """isreturn isreturned returned isrefund isrefunded refunded retoure retourniert retourne
        devuelto""",
    IP: "ip ipaddress userip clientip remoteaddr useripaddress",
    USER_AGENT: "useragent agent browser",
    CURRENCY: "currency currencycode waehrung devise moneda",
    TITLE: """title name productname itemname producttitle itemtitle description productdescription
        productdisplayname artikelname artikelbezeichnung bezeichnung produktname titel beschreibung nom nomproduit
        designation libelle nombre nombreproducto descripcion titulo""",
    CATEGORY: """category categoryname categories categorycode categorypath producttype productcategory
        itemcategory department productsubclass subcategory productsubcategory maincategory genre genres section
        productgroupname group productgroup categoryid kategorie warengruppe abteilung categorie rayon famille
        categoria seccion familia departamento""",
    BRAND: """brand brandname manufacturer vendor maker label itembrand marke hersteller marque fabricant
        marca fabricante""",
    TEXT: """longdescription text bodyhtml body details detaildesc summary shortdescription langtext
        descriptionlongue descripcionlarga description productdescription""",
    AVAILABLE: """available isavailable availability instock isinstock active isactive enabled published
        productonline verfuegbar lieferbar aktiv disponible enstock activo""",
    STOCK: """stock qty stockquantity inventory inventoryquantity variantinventoryqty quantity onhand
        lagerbestand bestand stocks existencias""",
    VALID_FROM: "validfrom onsale startdate availablefrom gueltigab debut fechainicio",
    VALID_UNTIL: "validuntil validto offsale enddate availableuntil gueltigbis fin fechafin",
    CREATED_AT: """createdat created dateadded releasedate addedat launchdate angelegt erstelltam
        datecreation fechaalta""",
}  # fmt: skip
"""Column of the contract, or what its expression is made of -> names of such columns."""

BLOCKED_WORDS: Final = {
    PRICE: "log log2 discount tax vat shipping freight cost min max rabatt steuer versand remise iva tva",
    TOTAL: "log discount tax vat shipping freight cost min max rabatt steuer versand remise iva tva days visits",
    QUANTITY: "min max photo photos image images words",
    USER_ID: "agent session city state country zip code name type group segment age gender phone postcode",
    ITEM_ID: "name title type price category brand description quantity count weight",
    TIMESTAMP: "birth dob zone delivery delivered estimated shipping shipped expected deadline limit due carrier",
    TITLE: "image url file length",
    STOCK: "photo photos image images length weight min max sold",
}
"""Column of the contract -> words that a name of such a column does not have."""

UNIT_WORDS: Final = "unit each single einzel stueck unitaire unitario unidad"
"""Words in the name of a price that say that it is of one piece."""

USER_ATTRIBUTES: Final = """age agegroup gender sex country region city segment income householdsize maritalstatus
    language loyalty tier membership clubmemberstatus fashionnewsfrequency homeownership kidscount householdcomp
    alter altersgruppe geschlecht land ort sprache edad sexo pais ciudad sexe pays ville idioma langue"""
"""Names of columns that describe groups of people."""

EVENT_NAMES: Final = {
    VIEW: """view views pageview productview viewitem viewproduct productviewed detail detailview
        viewcontent pv viewproductdetail itemview browse browsed viewed visit seen impressiondetail ansicht
        angesehen aufruf produktansicht vue consultation vista visto ver""",
    CLICK: """click clicks clicked selectitem productclick productclicked listclick clickout klick geklickt
        clic""",
    CART: """cart addtocart basket addtobasket productadded added atc incart cartadd addcart warenkorb
        indenwarenkorb panier ajoutpanier carrito anadiralcarrito cesta""",
    PURCHASE: """purchase purchased buy bought order ordered transaction sale sold orderconfirmed
        ordercompleted checkoutcompleted conversion completed complete paid kauf gekauft bestellung bestellt
        verkauf achat achete commande vente compra comprado pedido venta""",
    REFUND: """refund refunded return returned orderrefunded chargeback creditnote retoure retourniert
        zurueckgesendet zurueckgegeben rueckgabe erstattung gutschrift remboursement retour rembourse devolucion
        devuelto reembolso""",
    RATING: "rating rate rated review reviewed bewertung avis valoracion",
}  # fmt: skip
"""Event of the contract -> names of such events."""

IGNORED_EVENTS: Final = """removefromcart removedfromcart cartremove productremoved pageviewother sessionstart
    scroll userengagement firstvisit search searched login logout checkout begincheckout checkoutstep viewcart
    viewitemlist removefromwishlist"""
"""Names of events that say nothing that the built-in events mean."""

NOT_SOLD: Final = """cancelled canceled cancel voided void failed declined rejected expired draft pending
    pendingpayment paymentpending paymentfailed awaitingpayment unpaid
    abandoned trash checkoutdraft storniert abgebrochen offen fehlgeschlagen unbezahlt annule
    annulee enattente echoue cancelado anulado pendiente fallido"""
"""States of an order that was not sold."""

SOLD: Final = """paid complete completed shipped delivered fulfilled processing confirmed closed success
    partiallypaid invoiced approved onhold authorized sent done ok bezahlt versandt versendet geliefert
    abgeschlossen bestaetigt paye payee livre livree expedie terminee pagado enviado entregado completado
    partiallyrefunded"""
"""States of an order that was sold."""

TABLE_EVENTS: Final = {
    REFUND: "refund return retoure gutschrift remboursement devolucion",
    RATING: "rating review bewertung avis valoracion",
    CART: "cart basket warenkorb panier carrito",
    PURCHASE: """order orderline orderitem lineitem sale purchase transaction invoice receipt
        transactiondata checkout bestellung bestellposition auftrag verkauf kauf einkauf beleg umsatz commande
        achat vente facture pedido venta compra factura till retail""",
    CLICK: "click klick clic",
    VIEW: "view pageview visit browsing itemview hit ansicht aufruf vue vista visita",
}  # fmt: skip
"""Event -> singular nouns in the names of tables whose rows are such events."""

TABLE_KINDS: Final = {
    "items": """item product article catalogue catalog sku good offer artikel produkt produit producto
        articulo katalog movie book metadata""",
    "users": """user customer client member household demographic account kunde nutzer cliente utilisateur
        usuario""",
}  # fmt: skip
"""Kind -> singular nouns in the names of tables of that kind."""

NOT_GOODS: Final = {
    "postage": (
        r"post|dot|dotcom|p&p|(dotcom )?postage|carriage",
        r"(shipping|delivery|freight|handling)( (fee|charge|cost)s?)?",
        r"versand(kosten)?|porto|fracht|frais de (port|livraison)|livraison|env[ií]o|gastos de env[ií]o",
    ),
    "manual corrections": (
        r"m|manual|manual (entry|correction|adjustment)|adjust(ment)?s?( by .*)?|corrections?",
        r"korrektur(en)?|ajustes?",
    ),
    "discounts": (r"d|discounts?|coupons?|promo(tion)? code|rabatt|skonto|remise|descuento",),
    "bank charges and fees": (
        r"b|bank charges?|adjust bad debt|amazon ?fee|.* commission|(payment|transaction) fee|surcharge",
        r"bankgeb(ü|ue)hr(en)?|frais bancaires|comisi[oó]n( .*)?",
    ),
    "samples": (r"s|samples?|muster|(é|e)chantillons?|muestras?",),
    "gift cards": (
        r"gift_\d.*|.*\bgift ?(cards?|vouchers?|certificates?)\b.*|(geschenk)?gutschein.*",
        r"carte[s-]? cadeaux?.*|tarjetas? regalo.*",
    ),
    "donations and tests": (r"tip|donations?|spende|test|test[ _-]?(product|item|artikel|\d+)",),
    "deposits": (
        r"(bottle|can|container|crate|crv)?s? ?deposits?( .*)?|(flaschen|dosen|mehrweg|einweg)?pfand( .*)?",
        r"consigne( .*)?|dep[oó]sito (de )?(envase|botella)s?",
    ),
    "fuel": (
        r"fuels?|gasoline( ?- ?.*| .*)?|petrol( .*)?|diesel( fuel)?|unleaded( .*)?|benzin|kraftstoff|carburants?",
        r"gasolina( .*)?|gas[oó]leo",
    ),
}
"""What is sold that is no goods -> patterns of whole ids and titles."""
BOUGHT_REGULARLY: Final = frozenset(("deposits", "fuel"))
"""What is no goods to recommend, but bought by customers for themselves: models may learn from it."""

TIME_FORMATS: Final = (
    "%Y%m%d", "%Y%m%d%H%M%S", "%Y%m%d %H%M%S", "%Y%m%d %H:%M:%S", "%d %b %Y", "%d %b %Y %H:%M:%S", "%b %d, %Y",
    "%b %d %Y", "%B %d, %Y", "%m %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%d.%m.%y", "%d.%m.%y %H:%M",
    "%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z",
)  # fmt: skip
"""Formats of times that are tried where none is detected."""


def split_names(names: str) -> dict[str, float]:
    """Return names with the score of each, from 1 for the first to 0.9 for the last."""
    listed = list(dict.fromkeys(names.split()))
    return {name: 1 - 0.1 * position / max(len(listed), 1) for position, name in enumerate(listed)}
