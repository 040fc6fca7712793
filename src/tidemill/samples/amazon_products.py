"""Word lists for the products of the sample amazon-sales: kinds, invented brands, and claims."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tidemill.samples.making import words


class Kind(NamedTuple):
    """A kind of product: its category's levels, its share of all in percent, the median of its actual price in rupees,
    the mean discount in percent, its nouns, and the details at the end of names."""

    category: str
    share: float
    price: float
    discount: float
    nouns: tuple[str, ...]
    details: tuple[str, ...]


def kinds(table: str) -> tuple[Kind, ...]:
    """The kinds in a table of lines ``category; share; price; discount; noun/noun; detail/detail``."""
    cells = ([cell.strip() for cell in line.split(";")] for line in table.strip().splitlines())
    return tuple(
        Kind(category, float(share), float(price), float(discount), tuple(nouns.split("/")), tuple(details.split("/")))
        for category, share, price, discount, nouns, details in cells
    )


KINDS = kinds("""\
Computers&Accessories|Accessories&Peripherals|Cables&Accessories|Cables|USBCables; 16; 800; 62; \
Type-C Fast Charging USB Cable/Braided Micro USB Cable/USB Extension Cable; 1.5 m, for Phones, Tablets, PCs/2 m/60 W
Computers&Accessories|Accessories&Peripherals|LaptopAccessories|Bags&Sleeves|LaptopSleeves&Slipcases; 3; 1300; 55; \
Laptop Sleeve/Laptop Sleeve Case with Handle/Slim Laptop Bag; \
for 14" Laptops, Water Repellent/for 15.6" Laptops, Padded/for 13.3" Laptops, Felt
Computers&Accessories|Accessories&Peripherals|LaptopAccessories|Stands; 3; 1800; 58; \
Adjustable Laptop Stand/Folding Laptop Table; Aluminium, for Laptops up to 15.6"/Ventilated, 6 Angles
Computers&Accessories|Accessories&Peripherals|Keyboards,Mice&InputDevices|Mice; 4; 1100; 48; \
Wireless Mouse/Silent Optical Mouse; 2.4 GHz, 1600 DPI/USB Receiver, for PCs and Laptops
Computers&Accessories|Accessories&Peripherals|Keyboards,Mice&InputDevices|Keyboards; 3; 1900; 45; \
Wired Keyboard/Mechanical Keyboard; 104 Keys, Spill Resistant/Compact, Backlit
Computers&Accessories|NetworkingDevices|Routers; 3; 3200; 48; \
Dual Band Wi-Fi Router/Wi-Fi 6 Router; 4 Antennas, 1200 Mbps/Parental Control, 3000 Mbps
Computers&Accessories|ExternalDevices&DataStorage|PenDrives; 3; 1200; 55; \
USB 3.0 Pen Drive/Dual Drive for Phones; 64 GB/128 GB, Metal
Computers&Accessories|Laptops|TraditionalLaptops; 2; 62000; 24; \
Thin and Light Laptop/Business Laptop; 14" Laptop with 16 GB, 512 GB SSD/15.6" Laptop with 8 GB, 512 GB SSD
Computers&Accessories|Monitors; 1; 18000; 30; Full HD Monitor/Curved Monitor; 24", 75 Hz, HDMI/27", 144 Hz
Electronics|Mobiles&Accessories|Smartphones&BasicMobiles|Smartphones; 6; 19500; 24; \
5G Smartphone/4G Mobile Phone; 6 GB, 128 GB/8 GB, 256 GB, 120 Hz
Electronics|Mobiles&Accessories|Smartphones&BasicMobiles|BasicMobiles; 1; 1700; 20; \
Keypad Mobile Phone; Dual SIM, Torch/FM Radio, 1200 mAh
Electronics|Mobiles&Accessories|MobileAccessories|Chargers|WallChargers; 4; 1200; 52; \
Fast Wall Charger/Dual Port USB Charger; 20 W, Type-C/33 W, with Cable
Electronics|Mobiles&Accessories|MobileAccessories|Chargers|PowerBanks; 3; 2600; 42; \
Power Bank/Slim Power Bank; 10,000 mAh, 22.5 W/20,000 mAh, Triple Output
Electronics|Mobiles&Accessories|MobileAccessories|Cases&Covers|BasicCases; 3; 900; 70; \
Back Cover Case for Phones/Clear Phone Case; Shock Proof/Matte, Camera Protection
Electronics|Headphones,Earbuds&Accessories|Headphones|In-Ear; 7; 2400; 62; \
True Wireless Earbuds/Wired Earphones with Mic; 40 h, Low Latency/10 mm Drivers, Tangle Free
Electronics|Headphones,Earbuds&Accessories|Headphones|On-Ear; 2; 2900; 54; \
Bluetooth On-Ear Headphones/Wired Headphones; 20 h, Foldable/Padded, with Mic
Electronics|WearableTechnology|SmartWatches; 8; 6000; 68; \
Smart Watch/Fitness Smart Watch; 1.8" Display, Calling/SpO₂, 7 Days Battery
Electronics|HomeTheater,TV&Video|Televisions|SmartTelevisions; 5; 33000; 36; \
Smart LED TV/4K Ultra HD Smart TV; 108 cm (43")/80 cm (32"), HD Ready
Electronics|HomeTheater,TV&Video|Accessories|RemoteControls; 4; 900; 58; \
Remote Control for Smart TV/Universal TV Remote; Quick Keys/No Setup, Infrared
Electronics|HomeTheater,TV&Video|Accessories|Cables|HDMICables; 3; 800; 58; \
HDMI Cable/High Speed HDMI Cable; 4K, 1.8 m/8K, 3 m, for TV, Laptop
Electronics|Cameras&Photography|SecurityCameras|DomeCameras; 1; 4200; 45; \
Wi-Fi Security Camera/Outdoor Camera; 1080p, 360°/2K, Night Vision
Home&Kitchen|Kitchen&HomeAppliances|SmallKitchenAppliances|Kettles&HotWaterDispensers; 4; 1700; 40; \
Electric Kettle/Hot Water Kettle; 1.5 L, Steel/1.8 L, Auto Cut-Off
Home&Kitchen|Kitchen&HomeAppliances|SmallKitchenAppliances|MixerGrinders; 4; 5200; 42; \
Mixer Grinder/Compact Mixer Grinder; 750 W, 3 Jars/500 W
Home&Kitchen|Heating,Cooling&AirQuality|RoomHeaters; 2; 3400; 45; \
Room Heater/Fan Heater; 2000 W, Adjustable/Quiet, Tilt Cut-Off
OfficeProducts|OfficePaperProducts|Paper|Stationery|Notebooks,WritingPads&Diaries; 4; 350; 22; \
Ruled Notebook/Spiral Notebook; A5, 160 Pages, Pack of 6/Soft Cover, 200 Pages
MusicalInstruments|Microphones|Condenser; 1; 1900; 50; \
Clip-on Microphone/USB Condenser Microphone; for Phones, Cameras/with Tripod
""")

BRANDS = words("Aerlo Bravento Corvine Dalvara Estrello Fjordon Glimmera Hexavo Isomira Jolvik Kestora Lumaro")
SERIES = words("Arc Breeze Crest Drift Edge Flux Glide Halo Ion Jade Kite Loop Mesa Nova Orbit Pulse")
COLOURS = words("Black White Grey Midnight_Blue Rosé Olive Silver")
CLAIMS = np.array(
    [
        "EASY TO USE : works out of the box, no app needed",
        "BUILT TO LAST : tested 10,000 times, so it keeps its shape and its colour",
        "WARRANTY : 12 months, with friendly service in 7 languages",
        "MADE WITH CARE — every piece is checked by hand",
        "WORKS BETWEEN 0° and 45 °C, at home and on the way",
        'THE "EVERYDAY" SIZE : small enough for a bag, large enough to be useful',
        "SAFE : guards against overheating, overvoltage and short circuits®",
        "IN THE BOX : the product, a manual, and a card",
    ]
)
OPINIONS = np.array(
    [
        "Good for the price",
        "Does what it says, nothing more",
        "Very happy with it",
        "Stopped working after a month, but was replaced",
        "Looks better than in the picture",
        "Nice quality, fast delivery",
        "Not worth the money",
        "Using it daily since weeks",
    ]
)
