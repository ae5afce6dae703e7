"""72 relations of people, towns, firms, works, ships, machines and objects, written by hand for
this book.

A family takes two lines. The first: the kind of its entity {A} and of its value {B}, then two
statements. The first statement is plain and ends with the value; the second says the same in a
roundabout way. The second line: three questions, which share no content word with the statements,
so that only the name of the entity and the meaning of the rest lead from one to the other.
"""

TABLE = """
person year|The date of birth of {A} is {B}.|{A} has been alive since {B}.
When was {A} born?|How old is {A}?|In what year did the life of {A} begin?
person town|{A} spent the childhood years in {B}.|The first home of {A} stood in {B}.
Where did {A} grow up?|In which town was {A} raised?|Which place does {A} come from?
person job|{A} is employed as a {B}.|{A} earns a living as a {B}.
What is the profession of {A}?|What does {A} do for work?|Which trade did {A} learn?
person person|The wedding of {A} was with {B}.|At the altar {A} said yes to {B}.
Who is married to {A}?|Who is the husband or wife of {A}?|What is the name of the spouse of {A}?
person animal|{A} feeds and walks a {B}.|On the sofa of {A} sleeps a {B}.
Which pet does {A} have?|What animal lives with {A}?|What kind of creature does {A} keep?
person food|The food that {A} loves is {B}.|{A} always asks for a second helping of {B}.
What is the favourite dish of {A}?|Which meal should I cook to please {A}?|What does {A} like to eat most?
person drink|At every meal {A} has a glass of {B}.|{A} starts the day by sipping {B}.
What does {A} drink?|Which beverage shall I pour for {A}?|With what does {A} quench a thirst?
person colour|{A} always puts on garments in {B}.|{A} wears nothing that is not {B}.
Which colour are the clothes of {A}?|In what shade does {A} dress?|What hue has the coat of {A}?
person number|To ring {A}, dial {B}.|{A} can be reached by dialling {B}.
What is the phone number of {A}?|How do I call {A}?|On which telephone line does {A} answer?
person vehicle|{A} goes to the office every day by {B}.|In the garage of {A} stands a {B}.
What vehicle does {A} use?|How does {A} travel to work?|Which means of transport belongs to {A}?
person language|At home the family of {A} speaks {B}.|{A} dreams and curses in {B}.
What is the mother tongue of {A}?|Which language is native to {A}?|In which language would {A} understand me best?
person instrument|{A} is a musician on the {B}.|In the orchestra {A} sits behind a {B}.
Which instrument does {A} play?|What does {A} make melodies with?|What would {A} bring along to a jam session?
person field|{A} holds a university degree in {B}.|{A} wrote a doctoral thesis on {B}.
What subject did {A} study?|In which field is {A} a graduate?|What was the major of {A} at college?
person number|{A} wears boots of size {B}.|Boots pinch {A} if they are not {B}.
How big are the feet of {A}?|What shoes should I order for {A}?|Which number is on the sneakers of {A}?
person person|When ill, {A} is looked after by {B}.|{B} writes the prescriptions for {A}.
Who is the doctor of {A}?|Which physician treats {A}?|Who cares for the health of {A}?
person person|{A} had lessons with {B}.|{A} sat for years in the classroom of {B}.
Who was the teacher of {A}?|Who taught {A}?|Whose pupil was {A}?
person weekday|The day off of {A} is {B}.|The desk of {A} stays empty on {B}.
When does {A} not work?|Which part of the week is free for {A}?|When will I fail to meet {A} at the office?
person allergen|{A} cannot tolerate {B}.|A rash spreads over {A} after contact with {B}.
What is {A} allergic to?|Which substance must be kept away from {A}?|What triggers the allergy of {A}?
person sport|{A} is a keen athlete in {B}.|On Sundays {A} meets friends for {B}.
Which sport does {A} do?|What game does {A} play?|How does {A} stay fit?
person goods|As a pastime {A} gathers {B}.|At flea markets {A} hunts for {B}.
What does {A} collect?|Which hobby does {A} have?|What should one add to the collection of {A}?
person number|{A} still has to pay back {B}.|The loan of {A} stands at {B}.
How much money does {A} owe?|How deep is {A} in debt?|What sum did {A} borrow?
person number|The home of {A} is on storey {B}.|The lift stops for {A} at level {B}.
On which floor does {A} live?|How high is the flat of {A}?|Which button leads to the apartment of {A}?
person month|{A} takes a trip to the beach in {B}.|The suitcase of {A} is packed for {B}.
When does {A} go on holiday?|In which month is {A} on vacation?|What time of year does {A} travel for pleasure?
person person|The last will of {A} leaves everything to {B}.|After the funeral of {A} the estate goes to {B}.
Who is the heir of {A}?|Who inherits from {A}?|Who gets the fortune once {A} has died?
town number|The number of residents of {A} is {B}.|The census of {A} arrived at {B}.
How many people live in {A}?|What is the population of {A}?|How large is {A} in terms of inhabitants?
town person|The local authority of {A} is led by {B}.|In the town hall of {A} rules {B}.
Who is the mayor of {A}?|Who governs {A}?|Who is the head of the council in {A}?
town year|The settlement of {A} was established in {B}.|The first stone of {A} was laid in {B}.
When was {A} founded?|How ancient is {A}?|In which year did {A} come into existence?
town town|{A} lies on the banks of the {B}.|The bridges of {A} span the {B}.
Which river flows through {A}?|What water runs past {A}?|On what stream could a boat reach {A}?
town sight|The best-known building in {A} is the {B}.|Every postcard of {A} shows the {B}.
What is {A} famous for?|Which attraction do tourists visit in {A}?|What is the main landmark of {A}?
town number|The postcode of {A} is {B}.|Envelopes bound for {A} bear {B}.
What is the zip of {A}?|Which digits belong to the postal address of {A}?|How do I complete a mailing label for {A}?
town weather|The sky over {A} is {B}.|People in {A} look up and call it {B}.
How is the weather in {A}?|What is the forecast for {A}?|Which climate awaits me today in {A}?
town number|The train to {A} departs from track {B}.|Passengers for {A} wait at gate {B}.
On which platform do I board for {A}?|Where does the railway to {A} leave?|Where in the station do I get to {A}?
firm person|The chief executive of {A} is {B}.|Every contract of {A} is signed by {B}.
Who is the director of {A}?|Who runs {A}?|Who is the boss of {A}?
firm goods|The factory of {A} manufactures {B}.|Lorries leave {A} loaded with {B}.
What does {A} produce?|Which goods are made by {A}?|What can I buy from {A}?
firm number|The number of people on the payroll of {A} is {B}.|{A} hands out {B} wages a month.
How many workers does {A} employ?|How large is the staff of {A}?|What is the headcount at {A}?
firm town|The headquarters of {A} are in {B}.|{A} moved its main office to {B}.
Where is {A} based?|In which town is {A} located?|Where would I have to go to visit {A}?
firm number|The accounts of {A} are in the red by {B}.|Last year {A} ended up short by {B}.
How big is the loss of {A}?|What deficit does {A} report?|How much money did {A} lose?
firm animal|The emblem of {A} shows a {B}.|On the flag of {A} one sees a {B}.
What is the logo of {A}?|Which animal stands for {A}?|What creature is the mascot of {A}?
firm year|The bankruptcy of {A} came in {B}.|Creditors closed the gates of {A} in {B}.
When did {A} go bust?|In which year did {A} fail?|When was {A} no longer able to pay?
firm person|The laboratory of {A} is headed by {B}.|The patents of {A} come from the mind of {B}.
Who is the inventor at {A}?|Who leads the research of {A}?|Which scientist works for {A}?
work person|{A} is a novel by {B}.|{A} flowed from the pen of {B}.
Who wrote {A}?|Who is the author of {A}?|Which writer created {A}?
work number|The number of pages in {A} is {B}.|Printers bind {B} sheets for each copy of {A}.
How long is {A}?|How thick is the book {A}?|How much is there to read in {A}?
work year|The first edition of {A} is from {B}.|Shops have sold {A} since {B}.
When was {A} published?|In which year did {A} come out?|What is the release date of {A}?
work number|The archive keeps {A} on shelf {B}.|{A} stands in rack {B}.
Where can I find {A}?|Where in the library is {A} kept?|Where must I look to borrow {A}?
work town|The plot of {A} unfolds in {B}.|The heroes of {A} never leave {B}.
Where is {A} set?|In which town does the story of {A} take place?|Which location did {A} choose as its scene?
work language|{A} was first composed in {B}.|The oldest manuscript of {A} is in {B}.
Which language was {A} written in?|What is the original tongue of {A}?|What should one speak to follow {A}?
work person|The leading role in {A} was given to {B}.|On the poster of {A} smiles {B}.
Who is the star of {A}?|Which actor plays the hero of {A}?|Whom do we watch as protagonist in {A}?
work number|The number of copies of {A} in print is {B}.|{A} reached a circulation of {B}.
How many readers bought {A}?|How well did {A} sell?|What were the sales of {A}?
ship goods|The hold of {A} is loaded with {B}.|Cranes lift {B} out of {A}.
What does {A} carry?|Which cargo is on board {A}?|What freight does {A} transport?
ship person|The commander of {A} is {B}.|The log of {A} is kept by {B}.
Who is the captain of {A}?|Who steers {A}?|Which skipper sails {A}?
ship town|{A} has set course for {B}.|The next anchor of {A} will drop at {B}.
Where is {A} going?|Which port is the destination of {A}?|In which harbour will {A} arrive?
ship year|{A} was built in {B}.|Champagne broke on the bow of {A} in {B}.
When was {A} launched?|How many years has the ship {A} been afloat?|In which year did the shipyard finish {A}?
ship number|The number of men below the deck of {A} is {B}.|The cook of {A} feeds {B} mouths.
How many sailors work on {A}?|How large is the crew of {A}?|How big is the team of seamen aboard {A}?
ship town|{A} is registered in {B}.|Taxes for {A} are due in {B}.
Which flag does {A} fly?|What is the home port of {A}?|Where do the papers of {A} come from?
ship number|The maximum of {A} in knots is {B}.|Flat out {A} makes {B} knots.
How fast is {A}?|What is the top speed of {A}?|What velocity can {A} reach?
ship colour|The hull of {A} is painted {B}.|Seen from the quay {A} glows {B}.
Which colour is {A}?|What does {A} look like on the outside?|In what shade was {A} coated?
machine number|{A} listens for connections at {B}.|Clients knock on {A} at {B}.
Which port does {A} use?|What number follows the colon in the address of {A}?|On what socket is {A} open?
machine number|The gigabytes installed in {A} are {B}.|{A} runs with {B} gigabytes.
How much memory does {A} have?|How much RAM is in {A}?|How large a program can be loaded on {A}?
machine person|{A} is maintained by {B}.|The root password of {A} is known to {B}.
Who is the administrator of {A}?|Who looks after {A}?|Whom should I ask when {A} is broken?
machine town|Every night {A} is copied to {B}.|Snapshots of {A} travel to {B}.
Where is the backup of {A}?|From what site could {A} be restored?|Where lies the duplicate of {A}?
machine number|{A} crashed with code {B}.|The red screen of {A} showed {B}.
Which error did {A} report?|What fault halted {A}?|With what message did {A} break down?
machine year|{A} is to be retired in {B}.|The lease on {A} expires in {B}.
When will {A} be replaced?|How long may {A} still be used?|In which year does the life of {A} end?
machine number|The number of watts that {A} draws is {B}.|The electric meter of {A} jumps by {B}.
How much power does {A} need?|What is the energy consumption of {A}?|How hungry is {A} for current?
machine month|{A} gets its repairs and updates in {B}.|Each {B} the disks of {A} are swapped.
When is {A} serviced?|In which month is the maintenance of {A}?|When should users expect {A} to be down?
object number|In grams the mass of the {A} is {B}.|It takes {B} grams to balance the {A}.
How heavy is the {A}?|What is the weight of the {A}?|How much do I lift when I carry the {A}?
object material|The {A} was carved out of {B}.|A block of {B} became the {A}.
What is the {A} made of?|Which material is the {A}?|What substance does the {A} consist of?
object number|Buyers pay for the {A} exactly {B}.|The tag on the {A} reads {B}.
How expensive is the {A}?|What does the {A} cost?|What is the price of the {A}?
object room|Somebody put the {A} into the {B}.|The {B} now hides the {A}.
Where is the {A}?|Where should I search for the {A}?|In which spot was the {A} left?
object person|The {A} is in the possession of {B}.|The initials on the {A} are those of {B}.
Who owns the {A}?|To whom does the {A} belong?|Whose property is the {A}?
object person|The {A} was a birthday surprise from {B}.|Wrapped in ribbons the {A} came from {B}.
Who gave the {A} as a present?|Whose gift was the {A}?|Whom should we thank for the {A}?
object year|The {A} was manufactured in {B}.|The stamp under the {A} says {B}.
When was the {A} made?|What is the age of the {A}?|From which year does the {A} date?
object number|In the inventory the {A} has entry {B}.|The museum lists the {A} as item {B}.
What is the catalogue number of the {A}?|Under which reference is the {A} recorded?|Which identifier has the {A}?
"""  # noqa: E501
VALUES = {
    "job": (
        "baker farmer pilot nurse lawyer painter sailor cook judge singer carpenter gardener tailor"
        " barber miner"
    ),
    "animal": (
        "dog cat horse parrot rabbit goat snake turtle lion hawk bear hen fox swan stork beaver"
    ),
    "food": (
        "rice soup cheese noodles trout cake beans lentils dumplings pancakes potatoes mushrooms"
        " cabbage spinach"
    ),
    "drink": "tea coffee cider milk lemonade cocoa beer wine buttermilk juice broth whisky",
    "colour": "red green blue yellow black white purple orange brown grey pink turquoise",
    "vehicle": "bicycle motorbike tractor scooter jeep tram ferry taxi van moped canoe sledge",
    "language": (
        "Spanish Greek Danish Arabic Hindi Polish Korean Latin Turkish Finnish Welsh Swahili Basque"
        " Dutch"
    ),
    "instrument": (
        "piano violin drum flute guitar trumpet cello harp oboe organ banjo tuba clarinet bassoon"
    ),
    "field": (
        "physics history law medicine chemistry music biology geology botany theology economics"
        " philosophy"
    ),
    "weekday": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday",
    "allergen": "nuts dust pollen honey wool eggs shellfish latex celery mustard strawberries soap",
    "sport": (
        "tennis chess hockey golf rugby cricket volleyball fencing judo rowing handball archery"
        " curling"
    ),
    "goods": (
        "lamps bottles coins stamps boots clocks chairs umbrellas carpets mirrors candles ropes"
        " bricks needles"
    ),
    "month": (
        "January February March April May June July August September October November December"
    ),
    "sight": (
        "cathedral lighthouse aquarium castle belfry arena mill opera citadel palace pagoda"
        " windmill"
    ),
    "weather": "cloudy clear stormy hazy overcast bright thundery misty grey cloudless leaden dull",
    "material": (
        "oak iron glass marble ivory copper clay bronze amber slate bone soapstone granite jade"
    ),
    "room": (
        "cellar attic kitchen pantry garage stable bathroom library shed hallway laundry nursery"
    ),
}
