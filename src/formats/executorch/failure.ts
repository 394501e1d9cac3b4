/** What to do about a file that ends too early. */
export const CUT_OFF = "The file is cut off or damaged: get it again";
